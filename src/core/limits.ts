/** Bounds of one instance, and of what a user may have. Bytes, counts, messages per second. */
export interface Limits {
  readonly maxChannels: number
  readonly maxMessageBytes: number
  readonly maxBufferedBytes: number
  readonly maxInstanceBufferedBytes: number
  readonly rateLimit: number
  /** On all instances; 0: any number. Backends don't count. */
  readonly maxConnectionsPerUser: number
  /** Who goes when a user has too many: the one that comes, or the one that came first. */
  readonly connectionLimitPolicy: 'reject' | 'evict'
}
