import { Chat } from './chat.js'
import { Dashboard } from './dashboard.js'
import { byId, focusField, hue, initial, showPill } from './dom.js'
import { JoinForm, sayError } from './join.js'
import { looksLikeToken, Session } from './session.js'
import { Socket } from './socket.js'

const session = new Session()
const form = new JoinForm(join)
let running

async function join (proof) {
  await session.open(proof)
  form.hide()
  enter()
}

function enter () {
  const socket = new Socket(session)
  running = {
    socket,
    chat: new Chat({ socket, user: session.user }),
    // Where the stream is back, the socket need not wait for its turn.
    dashboard: new Dashboard({ session, onBeating: () => socket.wake() }),
    clock: setInterval(showConnection, 250),
  }
  byId('me-name').textContent = session.user
  byId('me-avatar').textContent = initial(session.user)
  byId('me-avatar').className = `avatar small ${hue(session.user)}`
  byId('app').hidden = false
  socket.addEventListener('state', ({ detail }) => {
    if (detail.rejoin) leave({ error: detail.reason })
    else showConnection({ announce: true })
  })
  socket.start()
  running.dashboard.start()
  focusField(byId('message-input'))
}

function leave (reason) {
  if (running === undefined) return
  const { socket, chat, dashboard, clock } = running
  running = undefined
  clearInterval(clock)
  socket.stop()
  chat.stop()
  dashboard.stop()
  Session.forget()
  byId('app').hidden = true
  form.show({ ...(session.renewable ? { name: session.user } : { mode: 'token' }), ...reason })
}

/** The pill counts down; only changes of state are announced to those who listen to the page. */
function showConnection ({ announce = false } = {}) {
  const { name, until, reason } = running.socket.state
  const seconds = Math.max(0, Math.ceil((until - Date.now()) / 1000))
  const texts = {
    connecting: 'Connecting',
    online: until > Date.now() ? `Online, moving in ${seconds} s` : 'Online',
    waiting: `Reconnecting in ${seconds} s`,
    idle: 'Paused',
    closed: 'Closed',
  }
  showPill(byId('connection'), byId('connection-text'), name, texts[name])
  if (!announce) return
  byId('announce').textContent = { ...texts, online: 'Online', waiting: 'Connection lost, reconnecting' }[name]
  byId('banner').hidden = name !== 'closed' && name !== 'idle'
  byId('banner').dataset.state = name
  byId('banner-text').textContent = name === 'idle' ? 'Paused after a long silence. It goes on as soon as you write.' : reason ?? ''
  byId('banner-action').textContent = 'Connect again'
}

/** The token in a link like `/#token=…`, taken out of the address bar and the history at once. */
function takeToken () {
  const token = new URLSearchParams(location.hash.slice(1)).get('token')
  if (token !== null) history.replaceState(history.state, '', location.pathname + location.search)
  return token ?? undefined
}

async function boot () {
  const token = takeToken()?.trim()
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
byId('banner-action').addEventListener('click', () => running.socket.start())
addEventListener('online', () => running?.socket.wake())
addEventListener('hashchange', () => {
  if (!location.hash.startsWith('#token=')) return
  leave()
  boot()
})
boot()
