import { Session } from 'node:inspector'

/*
 * Preloaded into measured Node processes. On SIGWINCH, which nothing else means anything by here, they collect their garbage; on SIGURG they
 * exit at once, but as from within: what Node writes at its exit, a profile say, is written.
 */
let session: Session | undefined

/**
 * As V8 collects where memory is short, and by itself in a process that has been idle for a while: it moves what lives together, and gives the
 * young generation back. An ordinary collection leaves pages for the sake of single objects in them, many or few by chance: up to as much as lives.
 */
process.on('SIGWINCH', () => {
  if (session === undefined) {
    session = new Session()
    session.connect()
  }
  session.post('HeapProfiler.collectGarbage')
})
process.on('SIGURG', () => process.exit())
