import { byId, element, setText } from '../common/dom.js'
import * as format from './format.js'

/** The choice of an instance, or of all. Answers which one is chosen. */
export function showChoice (instances) {
  const select = byId('choice')
  const names = ['', ...instances.map(({ name }) => name)]
  if (names.join() !== [...select.options].map(({ value }) => value).join()) {
    const { value } = select
    select.replaceChildren(...names.map(name => element('option', { value: name }, name === '' ? 'All instances' : name)))
    select.value = names.includes(value) ? value : ''
  }
  return select.value === '' ? undefined : select.value
}

/** One row an instance. */
export function showInstances (instances, only) {
  const shown = instances.filter(({ name }) => only === undefined || name === only)
  byId('instances').replaceChildren(...shown.map(instance => {
    const { name, last, silent } = instance
    const { connections: { websocket, sse, poll }, channels, messagesPerSecond, deliveriesPerSecond, latency, bufferedBytes, memory } = last
    const number = text => element('td', { className: 'number' }, text)
    return element('tr', { className: silent ? 'silent' : '', data: { testid: 'instance', instance: name, state: silent ? 'silent' : 'live' } },
      element('th', { scope: 'row' },
        element('span', { className: 'dot', attributes: { 'aria-hidden': 'true' } }),
        element('code', {}, name)),
      element('td', {}, sayState(instance)),
      number(format.count(websocket)), number(format.count(sse)), number(format.count(poll)), number(format.count(channels)),
      number(format.count(messagesPerSecond)), number(format.count(deliveriesPerSecond)), number(format.milliseconds(latency?.p95)),
      number(format.bytes(bufferedBytes)), number(format.bytes(memory)))
  }))
}

function sayState ({ last, age, silent }) {
  if (last.leaving) return `left ${format.duration(age)} ago`
  return silent ? `silent for ${format.duration(age)}` : `up ${format.duration(last.uptime)}`
}

/** Closes by code, as rows with bars. */
export function showCloses (closes) {
  byId('closes-empty').hidden = closes.length > 0
  byId('closes-table').hidden = closes.length === 0
  const most = closes[0]?.[1] ?? 1
  byId('closes').replaceChildren(...closes.slice(0, 8).map(([code, number]) => {
    const bar = element('span', { className: 'bar', attributes: { 'aria-hidden': 'true' } })
    bar.style.inlineSize = `${Math.max(1, 100 * number / most)}%`
    return element('tr', { data: { testid: 'close', code } },
      element('th', { scope: 'row' }, element('code', {}, code)),
      element('td', {}, format.closeMeaning(code)),
      element('td', { className: 'bars', attributes: { 'aria-hidden': 'true' } }, bar),
      element('td', { className: 'number' }, format.count(number)))
  }))
  setText(byId('closes-total'), closes.length === 0 ? '' : format.count(closes.reduce((sum, [, number]) => sum + number, 0)))
}
