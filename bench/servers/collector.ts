/*
 * Preloaded into measured Node processes. On SIGWINCH, which nothing else means anything by here, they collect their garbage; on SIGURG they
 * exit at once, but as from within: what Node writes at its exit, a profile say, is written.
 */
process.on('SIGWINCH', () => {
  churn()
  // V8 gives pages back in several steps.
  for (let i = 0; i < 4; i++) globalThis.gc?.()
})
process.on('SIGURG', () => process.exit())

/**
 * Makes the young generation as large as it can become. It grows up to 32 MB with the first load and stays so: a process has that once, and
 * whether it has it before or after connections come must not show as their memory.
 */
function churn (): void {
  let kept: unknown[] = []
  for (let i = 0; i < 1_000_000; i++) {
    if (kept.push({ i, list: [i] }) > 200_000) kept = []
  }
}
