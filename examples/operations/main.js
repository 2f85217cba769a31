import { connect } from '/client.js'
import { Connection, transportOf } from '../common/connection.js'
import { byId, setText } from '../common/dom.js'
import { looksLikeToken, sayError, Session, takeToken } from '../common/session.js'
import { Dashboard } from './dashboard.js'

/** Who only looks needs no name that others see, and does not take a place among the connections of one. */
const viewer = () => ({ user: `viewer-${Math.random().toString(36).slice(2, 8)}` })

async function boot () {
  const link = takeToken()
  const given = link !== undefined && looksLikeToken(link) ? { token: link } : Session.remembered()
  const session = new Session()
  try {
    if (given?.token !== undefined) await session.open(given)
    else await session.open(viewer(), { remember: false })
  } catch (error) {
    fail(error)
    return
  }
  // A dashboard only reads: one stream over plain HTTP is all it needs.
  const client = connect('/', { token: session.source(), transport: transportOf('sse') })
  const connection = new Connection(client, 'The numbers stand still until it is back.')
  const dashboard = new Dashboard({ client })
  byId('connection').hidden = false
  addEventListener('pagehide', ({ persisted }) => {
    if (persisted) return
    dashboard.stop()
    connection.stop()
    client.close()
  })
  await dashboard.start()
}

function fail (error) {
  byId('dashboard').dataset.state = 'failed'
  setText(byId('empty-title'), 'The numbers can’t be had')
  const hint = error.status === 403 ? 'This service gives out no tokens: join the chat with one of yours first, or open this page with #token=… behind its address.' : sayError(error)
  setText(byId('empty-text'), hint)
  byId('retry').hidden = false
}

byId('retry').addEventListener('click', () => location.reload())
addEventListener('hashchange', () => {
  if (location.hash.startsWith('#token=')) location.reload()
})
boot()
