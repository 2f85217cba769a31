/** The element with this id; every id asked for stands in the page. */
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

/** Sets a text only where it changes, so that live regions stay silent otherwise. */
export function setText (node, text) {
  if (node.textContent !== text) node.textContent = text
}

/** The first visible character of a name, for its avatar. */
const initial = name => ([...name.trim()][0] ?? '?').toLocaleUpperCase()

/** One of eight tints for a name, the same on every screen. */
function tint (name) {
  let hash = 0
  for (const char of name) hash = (hash * 31 + char.codePointAt(0)) >>> 0
  return `tint-${hash % 8}`
}

/** A picture of a name, for eyes only: the name itself stands beside it. */
export function avatar (name, className = '') {
  return element('span', { className: `avatar ${tint(name)} ${className}`.trim(), attributes: { 'aria-hidden': 'true' } }, initial(name))
}

/** Puts the cursor into a field, except where that would bring up a keyboard on the screen. */
export function focusField (field) {
  if (matchMedia('(pointer: fine)').matches) field.focus({ preventScroll: true })
}
