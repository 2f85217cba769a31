import { connect } from '/client.js'
import { Connection, transportOf } from '../common/connection.js'
import { avatar, byId, focusField } from '../common/dom.js'
import { looksLikeToken, sayError, Session, takeToken } from '../common/session.js'
import { Chat } from './chat.js'
import { JoinForm } from './join.js'

const session = new Session()
const form = new JoinForm(join)
let running

async function join (proof) {
  await session.open(proof)
  form.hide()
  enter()
}

function enter () {
  const { user } = session
  const client = connect('/', { token: session.source(), transport: transportOf() })
  byId('app').hidden = false
  running = {
    client,
    connection: new Connection(client, 'What you write waits here and is sent when it is back.'),
    chat: new Chat({ client, user })
  }
  byId('me-name').textContent = user
  byId('me-avatar').replaceChildren(avatar(user, 'small'))
  for (const id of ['connection', 'who', 'leave']) byId(id).hidden = false
  // A token of the visitor's own that is no longer good: only they can bring another.
  client.on('state', (state, error) => {
    if (state === 'stopped' && error?.code === 'unauthorized') leave({ error: 'The service no longer takes this token.' })
  })
  focusField(byId('message-input'))
}

function leave (reason) {
  if (running === undefined) return
  const { client, connection, chat } = running
  running = undefined
  chat.stop()
  connection.stop()
  client.close()
  Session.forget()
  for (const id of ['app', 'connection', 'who', 'leave']) byId(id).hidden = true
  form.show({ ...session.renewable ? { name: session.user } : { mode: 'token' }, ...reason })
}

async function boot () {
  const token = takeToken()
  if (token !== undefined && !looksLikeToken(token)) {
    form.show({ error: 'The link you followed holds no valid token.', mode: 'token' })
    return
  }
  const proof = token === undefined ? Session.remembered() : { token }
  if (proof === undefined) {
    form.show()
    return
  }
  try {
    await join(proof)
  } catch (error) {
    form.show({ error: sayError(error), name: proof.user, mode: proof.user === undefined ? 'token' : 'name' })
  }
}

byId('leave').addEventListener('click', () => leave())
addEventListener('hashchange', () => {
  if (!location.hash.startsWith('#token=')) return
  leave()
  boot()
})
boot()
