// A process of a fleet: some of its clients, as it is told by its parent.
import { WebSocket } from 'ws'
import { connect, type Client } from '../../../client/index.ts'
import { token } from '../../support/token.ts'
import { until } from '../../support/until.ts'
import type { Answer, ClientPlan, ClientReport, Order, Published, Span, TokenKind } from './plan.ts'
import { watchStalls } from './stalls.ts'

/** The service says that a token ends this long before; s. */
const NOTICE = 60
/** What a token function fails with that cannot reach who issues tokens. */
const NO_ISSUER = 'there is no issuer'

/** Keeps the spans in which something is missing. */
class Absences {
  readonly spans: Span[] = []
  #since: number | undefined

  set (there: boolean): void {
    if (there && this.#since !== undefined) {
      this.spans.push([this.#since, Date.now()])
      this.#since = undefined
    } else if (!there) {
      this.#since ??= Date.now()
    }
  }

  /** Everything up to now. */
  all (): Span[] { return this.#since === undefined ? this.spans : [...this.spans, [this.#since, Date.now()]] }
}

/** Issues the tokens of one client. */
class Issuer {
  readonly #name: string
  readonly #kind: TokenKind
  #asked = 0

  constructor ({ name, token }: ClientPlan) {
    this.#name = name
    this.#kind = token
  }

  /** Whether the client has come to its second good token, where it must. */
  get renewed (): boolean { return this.#asked >= { lasting: 1, renewing: 2, expiring: 3 }[this.#kind] }

  issue (): string {
    this.#asked++
    const sub = this.#name
    const soon = Math.floor(Date.now() / 1000) + 5 + Math.floor(Math.random() * 6)
    if (this.#kind === 'renewing') return token({ sub, exp: soon + NOTICE })
    if (this.#kind === 'lasting' || this.#asked > 2) return token({ sub })
    if (this.#asked === 2) throw new Error(NO_ISSUER)
    return token({ sub, exp: soon })
  }
}

class Member {
  readonly #plan: ClientPlan
  readonly #client: Client
  readonly #issuer: Issuer
  readonly #published: Published[] = []
  readonly #heard: ClientReport['heard'] = {}
  readonly #gaps: string[] = []
  readonly #errors: string[] = []
  readonly #transports: string[] = []
  readonly #dials: number[] = []
  readonly #away = new Absences()
  readonly #bare = new Absences()
  #timer: NodeJS.Timeout | undefined
  #started = false

  constructor (plan: ClientPlan) {
    const { url, transport } = this.#plan = plan
    const issuer = this.#issuer = new Issuer(plan)
    let open = 0
    const dialed = (): void => { if (this.#started) this.#dials.push(Date.now()) }
    const counted = (change: number): void => {
      open += change
      this.#bare.set(open > 0)
    }
    class Watched extends WebSocket {
      constructor (url: string, protocols: string[]) {
        super(url, protocols)
        dialed()
        this.once('open', () => {
          counted(1)
          this.once('close', () => counted(-1))
        })
      }
    }
    const watchedFetch: typeof fetch = async (input, init) => {
      if (String(input).includes('/events?')) dialed()
      return await fetch(input, init)
    }
    this.#client = connect(url, { token: () => issuer.issue(), transport, WebSocket: Watched, fetch: watchedFetch })
    this.#client.on('state', state => {
      const { transport } = this.#client
      if (transport !== undefined && transport !== this.#transports.at(-1)) this.#transports.push(transport)
      this.#away.set(state === 'connected')
    })
    this.#client.on('gap', gap => this.#gaps.push(JSON.stringify(gap)))
    this.#client.on('error', error => {
      // What was meant to happen.
      if (!(error.cause instanceof Error && error.cause.message === NO_ISSUER)) this.#errors.push(`${error.code}: ${error.message}`)
    })
  }

  get unsent (): number { return this.#published.filter(({ outcome }) => outcome === undefined).length }

  /** Whether its token was replaced, where it must be. Polls are not told that it soon ends. */
  get renewed (): boolean { return this.#issuer.renewed || (this.#plan.token === 'renewing' && this.#client.transport === 'poll') }

  async start (): Promise<void> {
    await this.#client.ready
    for (const name of this.#plan.channels) {
      const channel = this.#client.channel(name)
      const ids: string[] = []
      channel.on('*', (_data, { id }) => ids.push(id))
      await channel.subscribe()
      if (channel.position === undefined) throw new Error(`${name} has no positions`)
      this.#heard[name] = { from: channel.position.offset, ids }
    }
    this.#started = true
  }

  publish (): void {
    const { channels, interval, name } = this.#plan
    const next = (delay: number): void => {
      this.#timer = setTimeout(() => {
        next(interval)
        const n = this.#published.length
        const channel = channels[n % channels.length] as string
        const published: Published = { channel, id: `${name}-${n}` }
        this.#published.push(published)
        this.#client.channel(channel).publish('message', { n }, { id: published.id }).then(receipt => {
          published.outcome = receipt
        }, (error: Error) => {
          published.outcome = { error: error.message }
        })
      }, delay)
    }
    next(Math.random() * interval)
  }

  rest (): void { clearTimeout(this.#timer) }

  reached (ends: Record<string, number>): boolean {
    return this.#plan.channels.every(name => (this.#client.channel(name).position?.offset ?? 0) >= (ends[name] ?? 0))
  }

  report (): ClientReport {
    return {
      name: this.#plan.name,
      transports: this.#transports,
      heard: this.#heard,
      published: this.#published,
      gaps: this.#gaps,
      errors: this.#errors,
      away: this.#away.all(),
      bare: this.#bare.all(),
      dials: this.#dials
    }
  }
}

let members: Member[] = []
const stalls = watchStalls()

async function obey (order: Order): Promise<Answer> {
  switch (order.order) {
    case 'start': {
      const waiting = [...order.clients]
      members = []
      // A few at a time: how they come is not what is tested.
      await Promise.all(Array.from({ length: 10 }, async () => {
        for (let plan = waiting.shift(); plan !== undefined; plan = waiting.shift()) {
          const member = new Member(plan)
          members.push(member)
          await member.start()
        }
      }))
      return { answer: 'start' }
    }
    case 'publish':
      for (const member of members) member.publish()
      return { answer: 'publish' }
    case 'rest': {
      for (const member of members) member.rest()
      const unsent = (): number => members.reduce((sum, member) => sum + member.unsent, 0)
      await until(() => unsent() === 0 && members.every(({ renewed }) => renewed), 'all receipts and tokens', order.patience).catch(() => {})
      return { answer: 'rest', unsent: unsent(), unrenewed: members.filter(({ renewed }) => !renewed).length }
    }
    case 'report':
      // Who does not get there has lost something, which the report shows.
      await until(() => members.every(member => member.reached(order.ends)), 'everybody is there', order.patience).catch(() => {})
      return { answer: 'report', reports: members.map(member => member.report()), stalls }
  }
}

process.on('message', (order: Order) => {
  obey(order).then(answer => process.send?.(answer), (error: unknown) => {
    process.stderr.write(`${error instanceof Error ? error.stack : String(error)}\n`)
    process.exit(1)
  })
})
process.on('disconnect', () => process.exit(0))
