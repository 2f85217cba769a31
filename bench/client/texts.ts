const WORDS = 'the order of your customer was created shipped returned quick brown small large table chair lamp with for and to from price street city'.split(' ')
/** More than the window of any compressor holds of them, at 1 kB each: what was sent before is of no more use than in life. */
const COUNT = 64

/**
 * Lists of records of about so many characters in all, for the inside of a string: words repeat and values do not. Always the same ones.
 * Quotes are single, so that none needs to be escaped.
 */
export function lifelikeTexts (length: number): string[] {
  // xorshift32
  let state = 0x9e3779b9
  const below = (limit: number): number => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) % limit
  }
  const record = (): string => {
    const title = Array.from({ length: 6 }, () => WORDS[below(WORDS.length)]).join(' ')
    return `{'id':${below(1e9)},'sku':'${below(2 ** 31).toString(36)}','title':'${title}','price':${below(1e5) / 100},'inStock':${below(2) === 0}}`
  }
  return Array.from({ length: COUNT }, () => {
    let text = ''
    while (text.length < length) text += record() + ','
    return text.slice(0, length)
  })
}
