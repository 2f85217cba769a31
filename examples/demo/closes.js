const REASONS = {
  4500: 'The service does not accept this token.',
  4501: 'The service disconnected you.',
  4502: 'You connected from too many places; the newest connections stay.',
  4503: 'You have too many connections open. Close another tab first.',
  4504: 'The service could not understand this page.',
  4505: 'This page sent too much, or too many things that were wrong.',
}

/**
 * What a close code asks of the client: `idle` comes back on the next use, `closed` does not come back by itself,
 * `again` does. 4000–4499 and the codes of the WebSocket standard mean that the client should return.
 */
export function verdict (code) {
  if (code === 4506) return 'idle'
  return code >= 4500 && code <= 4999 ? 'closed' : 'again'
}

/** A sentence for people about a close that lasts. */
export function reasonOf (code, said) {
  return REASONS[code] ?? (said ? `The service closed the connection: ${said}` : `The service closed the connection (${code}).`)
}
