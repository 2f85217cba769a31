/** Settings of a Redis that matter here, as `CONFIG GET` tells them. Absent: not told. */
export interface RedisSettings {
  readonly appendonly?: string
  readonly 'maxmemory-policy'?: string
  readonly 'client-output-buffer-limit'?: string
}

/** What is asked for. */
export const settingNames = ['appendonly', 'maxmemory-policy', 'client-output-buffer-limit'] as const satisfies ReadonlyArray<keyof RedisSettings>

/** A setting that breaks a promise of delivery, and the command that mends it. */
export interface Advice { readonly setting: keyof RedisSettings, readonly value: string, readonly why: string, readonly mend: string }

const MIB = 1_048_576
/** Redis's own limits for a subscriber: it is cut at once over the first, and over the second after so many seconds. */
const HARD = 32 * MIB
const SOFT = 8 * MIB
const SECONDS = 60

/** What should be changed in a Redis; empty when all is well or not known. */
export function adviceOn (settings: RedisSettings): Advice[] {
  const advice: Advice[] = []
  const { appendonly, 'maxmemory-policy': policy, 'client-output-buffer-limit': limits } = settings
  if (appendonly === 'no') {
    advice.push({
      setting: 'appendonly',
      value: appendonly,
      why: 'what Redis has not saved is lost when it ends, history and all',
      mend: 'CONFIG SET appendonly yes'
    })
  }
  if (policy !== undefined && policy !== 'noeviction') {
    advice.push({
      setting: 'maxmemory-policy',
      value: policy,
      why: 'when its memory is full Redis drops history by itself, which readers then miss',
      mend: 'CONFIG SET maxmemory-policy noeviction'
    })
  }
  const pubsub = limits === undefined ? undefined : pubsubLimit(limits)
  if (pubsub !== undefined && (isBelow(pubsub.hard, HARD) || isBelow(pubsub.soft, SOFT) || (pubsub.soft > 0 && pubsub.seconds < SECONDS))) {
    advice.push({
      setting: 'client-output-buffer-limit',
      value: `pubsub ${pubsub.hard} ${pubsub.soft} ${pubsub.seconds}`,
      why: 'Redis disconnects an instance that is a moment behind, which then has to read the log',
      mend: 'CONFIG SET client-output-buffer-limit "pubsub 32mb 8mb 60"'
    })
  }
  return advice
}

/** The limits of subscribers in `normal 0 0 0 slave … pubsub <hard> <soft> <seconds>`, bytes and seconds; 0 is none. */
function pubsubLimit (text: string): { hard: number, soft: number, seconds: number } | undefined {
  const [hard, soft, seconds] = /\bpubsub (\d+) (\d+) (\d+)/.exec(text)?.slice(1).map(Number) ?? []
  return hard === undefined || soft === undefined || seconds === undefined ? undefined : { hard, soft, seconds }
}

function isBelow (limit: number, wanted: number): boolean {
  return limit > 0 && limit < wanted
}
