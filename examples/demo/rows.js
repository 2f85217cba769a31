import { element, hue, initial } from './dom.js'

const TOGETHER = 3 * 60_000
const clock = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' })
const STATES = { sending: 'Sending…', sent: 'Sent', failed: 'Not sent' }

/**
 * One message in the log. `from` is undefined for a backend. Own messages carry a state, `sending`, `sent` or `failed`;
 * their row can be changed by `showState`.
 */
export function messageRow ({ id, from, own = false, at, text, event = 'message', state, onRetry }) {
  const name = from ?? 'Service'
  const row = element('li', {
    className: own ? 'row own' : 'row',
    data: { testid: 'message', id, from: from ?? '', at, ...(state !== undefined && { state }) },
  },
  element('span', { className: `avatar ${from === undefined ? 'service' : hue(from)}`, attributes: { 'aria-hidden': 'true' } }, initial(name)),
  element('div', { className: 'message' },
    element('p', { className: 'meta' },
      element('bdi', { className: 'author', data: { testid: 'message-author' } }, own ? 'You' : name),
      ...(event === 'message' ? [] : [element('code', { className: 'event' }, event)]),
      time(at)),
    element('p', { className: 'text', dir: 'auto', data: { testid: 'message-text' } }, text),
    ...(own
      ? [element('p', { className: 'state' },
          element('span', { className: 'state-text', data: { testid: 'message-state' } }, STATES[state]),
          element('button', { type: 'button', className: 'link retry', data: { testid: 'message-retry' }, hidden: true, onclick: onRetry }, 'Try again'))]
      : [])))
  return row
}

/** Changes the state under an own message; `note` says more, `retry` offers another attempt. */
export function showState (row, state, { note, retry = false } = {}) {
  row.dataset.state = state
  row.querySelector('.state-text').textContent = note === undefined ? STATES[state] : `${STATES[state]} · ${note}`
  row.querySelector('.retry').hidden = !retry
}

/** Replaces the time a row was written by the time the service gave it. */
export function showTime (row, at) {
  row.dataset.at = at
  row.querySelector('time').replaceWith(time(at))
}

/** A line of the page's own between messages: what was missed, or what the service says to this user. */
export function noticeRow (text) {
  return element('li', { className: 'notice', data: { testid: 'notice' } }, element('span', { dir: 'auto' }, text))
}

/** Messages of one author within a few minutes stand together under one name. */
export function group (list) {
  let before
  for (const row of list.children) {
    const together = before?.dataset.from !== undefined && before.dataset.from === row.dataset.from && row.dataset.at - before.dataset.at < TOGETHER
    row.classList.toggle('follows', together)
    before = row
  }
}

function time (at) {
  const when = new Date(at)
  return element('time', { dateTime: when.toISOString(), title: when.toLocaleString() }, clock.format(when))
}
