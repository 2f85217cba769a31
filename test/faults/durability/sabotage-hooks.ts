import type { InitializeHook, LoadHook } from 'node:module'
import { fileURLToPath } from 'node:url'
import { sabotages, type Sabotage } from './sabotage.ts'

let sabotage: Sabotage | undefined
let target = ''

/** Takes the name of what is to be taken out. */
export const initialize: InitializeHook<string> = name => {
  sabotage = sabotages.find(one => one.name === name)
  if (sabotage === undefined) throw new Error(`there is no sabotage '${name}'`)
  target = fileURLToPath(new URL(`../../../${sabotage.file}`, import.meta.url))
}

/** Loads the service without one of its safeties. Fails where that is not found: then nothing would be proven. */
export const load: LoadHook = async (url, context, nextLoad) => {
  const loaded = await nextLoad(url, context)
  if (sabotage === undefined || !url.startsWith('file:') || fileURLToPath(url) !== target || loaded.source == null) return loaded
  let source = typeof loaded.source === 'string' ? loaded.source : Buffer.from(loaded.source as Uint8Array).toString()
  for (const [pattern, replacement] of sabotage.changes) {
    if (!pattern.test(source)) throw new Error(`${sabotage.file} has nothing like ${String(pattern)}: where is '${sabotage.name}' now?`)
    source = source.replace(pattern, replacement)
  }
  return { ...loaded, source }
}
