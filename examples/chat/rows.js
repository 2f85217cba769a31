import { avatar, element } from '../common/dom.js'

const TOGETHER = 5 * 60_000
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'short', hour: '2-digit', minute: '2-digit' })
const STATES = { sending: 'Sending…', sent: 'Sent', failed: 'Not sent' }

/**
 * One message in the log. `from` is undefined for a backend. Own messages carry a state, `sending`, `sent` or `failed`;
 * their row can be changed by `showState`.
 */
export function messageRow ({ id, from, own = false, at, text, event = 'message', state, onRetry }) {
  const name = from ?? 'Service'
  return element('li', {
    className: 'row',
    data: { testid: 'message', id, from: from ?? '', at, ...state !== undefined && { state } }
  },
  avatar(name, from === undefined ? 'service' : ''),
  element('div', { className: 'message' },
    element('p', { className: 'meta' },
      element('bdi', { className: 'author', data: { testid: 'message-author' } }, name),
      ...own ? [element('span', { className: 'you' }, 'you')] : [],
      ...event === 'message' ? [] : [element('code', { className: 'event' }, event)],
      time(at)),
    element('p', { className: 'text', dir: 'auto', data: { testid: 'message-text' } }, text)),
  ...state === undefined
    ? []
    : [element('p', { className: 'state' },
        element('span', { className: 'state-text', data: { testid: 'message-state' } }, STATES[state]),
        element('button', { type: 'button', className: 'link retry', data: { testid: 'message-retry' }, hidden: true, onclick: onRetry }, 'Try again'))])
}

/** Changes the state of an own message; `note` says more. What has failed may be tried again. */
export function showState (row, state, note) {
  row.dataset.state = state
  row.querySelector('.state-text').textContent = note === undefined ? STATES[state] : `${STATES[state]}: ${note} `
  row.querySelector('.retry').hidden = state !== 'failed'
}

/** Replaces the time when a row was written by the time that the service gave it. */
export function showTime (row, at) {
  row.dataset.at = at
  row.querySelector('time').replaceWith(time(at))
}

/** A line between messages: `new`, where the unread ones begin, or `gap`, where some are missing. */
export function dividerRow (kind, text) {
  return element('li', { className: `divider ${kind}`, data: { testid: `divider-${kind}` } }, text)
}

/** Messages of one author within a few minutes stand together under one name. */
export function group (list) {
  let before
  for (const row of list.children) {
    const { from, at } = row.dataset
    row.classList.toggle('follows', from !== undefined && before?.from === from && at - before.at < TOGETHER)
    before = row.dataset
  }
}

function time (at) {
  const when = new Date(at)
  const format = Date.now() - at < 12 * 3_600_000 ? clock : weekday
  return element('time', { dateTime: when.toISOString(), title: when.toLocaleString() }, format.format(when))
}
