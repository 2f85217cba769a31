import { fork, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Owner } from '../../support/service.ts'
import type { Answer, ClientPlan, ClientReport, Order, Span } from './plan.ts'
import { watchStalls } from './stalls.ts'

const CREW = fileURLToPath(new URL('./crew.js', import.meta.url))
const PROCESSES = 2

/** What a fleet has to say at the end. */
export interface FleetReport {
  readonly clients: readonly ClientReport[]
  /** When one of the processes got no processor. */
  readonly stalls: readonly Span[]
}

/** Clients of the SDK in processes of their own. */
export class Fleet {
  readonly #crews: ChildProcess[]
  readonly #stalls = watchStalls()

  private constructor (crews: ChildProcess[]) { this.#crews = crews }

  /** Starts the clients; resolves when all of them are subscribed. Ended with the test. */
  static async start (t: Owner, clients: readonly ClientPlan[]): Promise<Fleet> {
    const crews = Array.from({ length: PROCESSES }, () => {
      const crew = fork(CREW, { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] })
      t.teardown(() => { crew.kill('SIGKILL') })
      return crew
    })
    const fleet = new Fleet(crews)
    await Promise.all(crews.map((crew, n) => fleet.#tell(crew, { order: 'start', clients: clients.filter((_, i) => i % PROCESSES === n) })))
    return fleet
  }

  /** From here on each client publishes. */
  async publish (): Promise<void> { await this.#all({ order: 'publish' }) }

  /** Ends that, and waits for receipts and fresh tokens; answers how many have not come. */
  async rest (patience = 40_000): Promise<{ unsent: number, unrenewed: number }> {
    const answers = (await this.#all({ order: 'rest', patience })).flatMap(answer => answer.answer === 'rest' ? [answer] : [])
    return { unsent: sum(answers.map(({ unsent }) => unsent)), unrenewed: sum(answers.map(({ unrenewed }) => unrenewed)) }
  }

  /** What the clients have seen, once all of them are at the end of their channels. */
  async report (ends: Record<string, number>, patience = 40_000): Promise<FleetReport> {
    const answers = await this.#all({ order: 'report', ends, patience })
    const reports = answers.flatMap(answer => answer.answer === 'report' ? [answer] : [])
    return { clients: reports.flatMap(({ reports }) => reports), stalls: [...this.#stalls, ...reports.flatMap(({ stalls }) => stalls)] }
  }

  async #all (order: Order): Promise<Answer[]> {
    return await Promise.all(this.#crews.map(crew => this.#tell(crew, order)))
  }

  async #tell (crew: ChildProcess, order: Order): Promise<Answer> {
    const ended = new AbortController()
    const exit = once(crew, 'exit', { signal: ended.signal }).then(() => { throw new Error('a process of the fleet has ended') })
    exit.catch(() => {})
    crew.send(order)
    try {
      const [answer] = await Promise.race([once(crew, 'message', { signal: ended.signal }), exit]) as [Answer]
      return answer
    } finally {
      ended.abort()
    }
  }
}

function sum (numbers: readonly number[]): number {
  return numbers.reduce((sum, number) => sum + number, 0)
}
