import type { Core, CoreOptions } from './core.ts'
import { CarillonError } from './errors.ts'
import { Machine, type Input, type Output, type State, type TimerName } from './machine.ts'
import { Session } from './session.ts'
import { Choice } from './transports/choose.ts'
import type { End, Frame } from './transports/transport.ts'
import { judge, REPLACED } from './verdict.ts'

/** Does what the machine decides: opens links and lets go of them, at most two at a time, and counts the time. */
export class Links {
  readonly #core: Core
  readonly #options: CoreOptions
  readonly #machine: Machine
  readonly #choice: Choice
  readonly #sessions = new Map<number, Session>()
  readonly #timers = new Map<TimerName | 'upgrade', ReturnType<typeof setTimeout>>()
  readonly #inputs: Input[] = []
  #current: Session | undefined
  #error: CarillonError | undefined
  #busy = false

  constructor (core: Core, options: CoreOptions) {
    this.#core = core
    this.#options = options
    this.#machine = new Machine({ backoff: options.backoff })
    this.#choice = new Choice(options.http.base, options.names)
  }

  get state (): State { return this.#machine.state }

  /** The one to send over. */
  get current (): Session | undefined { return this.#current }

  /** All that there are: the one in use, and the one that is to take its place. */
  get all (): Iterable<Session> { return this.#sessions.values() }

  /** Why there is none. */
  get error (): CarillonError | undefined { return this.#error }

  /** One after the other: what an input leads to may cause the next one. */
  input (input: Input): void {
    this.#inputs.push(input)
    if (this.#busy) return
    this.#busy = true
    for (let next = this.#inputs.shift(); next !== undefined; next = this.#inputs.shift()) {
      const before = this.state
      for (const output of this.#machine.handle(next)) this.#do(output)
      if (this.state !== before) this.#core.entered(this.state, this.#error)
    }
    this.#busy = false
  }

  close (error: CarillonError): void {
    this.#error = error
    this.input({ type: 'close' })
  }

  #do (output: Output): void {
    switch (output.do) {
      case 'dial': return this.#dial(output)
      case 'adopt': return this.#adopt(output.link)
      case 'drop': return this.#drop(output.link)
      case 'check': return this.#sessions.get(output.link)?.check()
      case 'clear':
        for (const timer of this.#timers.values()) clearTimeout(timer)
        return this.#timers.clear()
      case 'timer': return this.#after(output.name, output.delay, { type: 'timer', name: output.name })
    }
  }

  #dial ({ link, attempt, better }: Extract<Output, { do: 'dial' }>): void {
    const { tokens, sharing } = this.#options
    const names = this.#choice.candidates(attempt, better ? this.#current?.transport : undefined)
    const session = new Session(link, this, this.#core, this.#options, this.#choice)
    this.#sessions.set(link, session)
    Promise.all([tokens.get(), sharing]).then(([token, shared]) => session.dial(names, token, shared), (cause: unknown) => {
      if (this.#forget(link) !== undefined) this.input({ type: 'end', link, verdict: this.#noToken(cause) ? 'stop' : 'retry' })
    })
  }

  #adopt (link: number): void {
    this.#current = this.#sessions.get(link)
    this.#error = undefined
    this.#watchBetter()
    this.#core.outbox.resume()
  }

  /** Tries the better transports again, when it is time, while a lesser one is in use. */
  #watchBetter (): void {
    const { transport, link = 0 } = this.#current ?? {}
    const delay = transport && this.#choice.betterIn(transport)
    if (delay !== undefined) this.#after('upgrade', delay, { type: 'upgrade', link })
  }

  #drop (link: number): void {
    this.#forget(link)?.close()
  }

  #forget (link: number): Session | undefined {
    const session = this.#sessions.get(link)
    this.#sessions.delete(link)
    if (session === this.#current) this.#current = undefined
    return session
  }

  /** A session has ended by itself. */
  ended ({ link, welcome }: Session, end: End): void {
    if (this.#forget(link) === undefined) return
    const { names, tokens } = this.#options
    // Its place may have been taken by the link that is to follow it.
    const handedOn = end.code === REPLACED && this.#sessions.size > 0
    const { verdict, reason } = judge(handedOn ? {} : end, tokens.renewable, this.#core.wanted().length + this.#core.outbox.size > 0)
    // Pages are not told why an upgrade was refused. Where no other transport says it, it may have been the token.
    if (verdict === 'token' || (names.length === 1 && welcome === undefined && end.status === undefined)) tokens.stale()
    const transport = this.#current?.transport
    if (transport === undefined || verdict === 'stop') this.#error = reason
    this.input({ type: 'end', link, verdict, after: end.after })
    if (transport === undefined || welcome !== undefined) return
    // A better one was tried in vain.
    this.#choice.worked(transport)
    this.#watchBetter()
  }

  /** What the service says to the client as such. */
  notice (session: Session, frame: Frame): void {
    const { link } = session
    if (frame.type === 'shutdown') this.input({ type: 'shutdown', link, delay: frame.reconnectDelay })
    else if (frame.type === 'error') this.#core.failed(new CarillonError(frame.code, frame.message))
    else if (frame.type === 'expiring') this.#refresh(session)
  }

  /** The token of a link ends soon. One that can't be had now is fetched when the service has closed the link. */
  #refresh (session: Session): void {
    const { tokens } = this.#options
    if (!tokens.renewable) return
    tokens.stale()
    tokens.get().then(token => session.ask({ type: 'auth', token }, frame => {
      if (frame.type === 'error' && !frame.retry) this.notice(session, frame)
    }), (cause: unknown) => {
      if (!this.#noToken(cause)) return
      this.#drop(session.link)
      this.input({ type: 'end', link: session.link, verdict: 'stop' })
    })
  }

  /** Answers whether there will be none. */
  #noToken (cause: unknown): boolean {
    const unauthorized = (cause as { code?: unknown } | undefined)?.code === 'unauthorized'
    this.#error = new CarillonError(unauthorized ? 'unauthorized' : 'network', 'The token function failed.', { cause })
    this.#core.failed(this.#error)
    return unauthorized
  }

  #after (name: TimerName | 'upgrade', delay: number, input: Input): void {
    clearTimeout(this.#timers.get(name))
    this.#timers.set(name, setTimeout(() => this.input(input), delay))
  }
}
