/** Settles as a promise does, or rejects with an error of this text once `ms` have passed. What comes later is dropped. */
export async function within<T> (ms: number, promise: Promise<T>, text = `no answer within ${ms} ms`): Promise<T> {
  let timer: NodeJS.Timeout | undefined
  const late = new Promise<never>((_resolve, reject) => { timer = setTimeout(() => reject(new Error(text)), ms) })
  try {
    return await Promise.race([promise, late])
  } finally {
    clearTimeout(timer)
  }
}
