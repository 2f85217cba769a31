import type { Offence } from './checker.ts'

/** One safety of the service, and how to take it out of the compiled code. */
export interface Sabotage {
  readonly name: string
  /** The compiled file, below the folder of the build. */
  readonly file: string
  /** What stands there, and what is put in its place. All of it must be found. */
  readonly changes: ReadonlyArray<readonly [pattern: RegExp, replacement: string]>
  /** The scenario that must go wrong without it, */
  readonly scenario: string
  /** and at least how. Absent: its proof is what fails. */
  readonly offences?: readonly Offence[]
}

/** Each safety that no reader sees until it is missing. */
export const sabotages: readonly Sabotage[] = [
  {
    name: 'repair',
    file: 'src/core/feed.js',
    changes: [
      // A hole is passed over, and the log is never read for what is missing.
      [/if \(offset !== this\.#position\.offset \+ 1\)\s*return false;/, 'this.#position = { epoch, offset: offset - 1 };'],
      [/async repair\(cause\) \{/, '$& return;']
    ],
    scenario: 'Redis disconnects its subscribers every second',
    offences: ['lost', 'silent']
  },
  {
    name: 'probe',
    file: 'src/core/broker/redis.js',
    changes: [[/this\.#probe\(\);/, '']],
    scenario: 'the subscribers hear a replica that was detached'
  },
  {
    name: 'fencing',
    file: 'src/core/broker/term.js',
    // One Redis looks like another.
    changes: [[/this\.#run = \/\^run_id:[^;]*;/, "this.#run = 'the same';"]],
    scenario: 'Redis comes back with an older snapshot',
    offences: ['collision', 'silent']
  },
  {
    name: 'reports',
    file: 'src/core/broker/witness.js',
    // What Redis forgets, instances forget as well.
    changes: [[/known\(key\) \{/, '$& return [];']],
    scenario: 'Redis comes back with an older snapshot',
    offences: ['silent']
  },
  {
    name: 'idempotency',
    file: 'src/core/message.js',
    // An id is passed on, and means nothing.
    changes: [[/messageId === undefined/, 'true']],
    scenario: 'the command connection is lost at each moment of a publish',
    offences: ['doubled', 'untrue']
  }
]
