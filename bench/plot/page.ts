/** A table of a page; all columns but the first are numbers. */
export function table (head: readonly string[], rows: ReadonlyArray<readonly string[]>): string {
  const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map((_, i) => i === 0 ? '---' : '--:')), ...rows.map(line)].join('\n')
}

/** A page with something else between a pair of markers; as it is where it has none of that name. */
export function filled (page: string, name: string, text: string): string {
  const [begin, end] = [`<!-- bench ${name} -->`, '<!-- /bench -->']
  const from = page.indexOf(begin)
  const to = page.indexOf(end, from)
  return from === -1 || to === -1 ? page : `${page.slice(0, from + begin.length)}\n${text}\n${page.slice(to)}`
}
