import { cursorHead, cursorStem, encodeCursor, type CursorStem } from '../cursor.ts'
import type { Position } from '../protocol.ts'

/** Where a reader is in each of its channels, and the cursor that says so; made once a move, however often it is asked for. */
export class Places {
  readonly #places = new Map<string, { readonly channel: string, position: Position | undefined }>()
  #head: Buffer | undefined
  #stem: CursorStem | undefined
  #cursor: string | undefined
  #changed = false

  get changed (): boolean { return this.#changed }
  set changed (changed: boolean) {
    if (changed === this.#changed) return
    this.#changed = changed
    this.#head = this.#stem = this.#cursor = undefined
  }

  place (key: string, channel: string, position: Position | undefined): void {
    if (!this.#places.has(key)) this.#head = undefined
    this.#places.set(key, { channel, position })
    this.#stem = this.#cursor = undefined
  }

  leave (key: string): void {
    if (!this.#places.delete(key)) return
    this.#head = this.#stem = this.#cursor = undefined
  }

  has (key: string): boolean { return this.#places.has(key) }

  at (key: string): Position | undefined { return this.#places.get(key)?.position }

  /** Moves the reader in a channel that it has. */
  moved (key: string, position: Position): void {
    const place = this.#places.get(key)
    if (place === undefined) return
    if (position.epoch !== place.position?.epoch) this.#stem = undefined
    place.position = position
    this.#cursor = undefined
  }

  /** The same, in the open; channels without a log are not in it. */
  get positions (): Array<[channel: string, position: Position]> {
    return Array.from(this.#places.values()).flatMap(({ channel, position }) => position === undefined ? [] : [[channel, position] as [string, Position]])
  }

  get cursor (): string {
    this.#head ??= cursorHead(Array.from(this.#places.values(), ({ channel }) => channel), this.#changed)
    this.#stem ??= cursorStem(this.#head, this.#places.values())
    this.#cursor ??= encodeCursor(this.#stem, this.#places.values())
    return this.#cursor
  }
}
