/** The element with this id; every id asked for stands in index.html. */
export const byId = id => document.getElementById(id)

/**
 * An element with properties and children. Text goes in as text nodes only, so nothing that came over the wire is ever
 * read as markup.
 */
export function element (tag, { data = {}, attributes = {}, ...properties } = {}, ...children) {
  const node = Object.assign(document.createElement(tag), properties)
  Object.assign(node.dataset, data)
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value)
  node.append(...children)
  return node
}

/** One of eight colours for a name, the same on every screen. */
export function hue (name) {
  let hash = 0
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0
  return `hue-${hash % 8}`
}

/** The first visible character of a name, for its avatar. */
export const initial = name => ([...name.trim()][0] ?? '?').toLocaleUpperCase()

/** Shows a connection's state in a pill; the colour follows `data-state`. */
export function showPill (pill, label, state, text) {
  if (pill.dataset.state !== state) pill.dataset.state = state
  if (label.textContent !== text) label.textContent = text
}

/** Puts the cursor into a field, except where that would bring up a keyboard on the screen. */
export function focusField (field) {
  if (matchMedia('(pointer: fine)').matches) field.focus({ preventScroll: true })
}
