// Loaded before the service (`node --import`): takes out the safety that SABOTAGE names.
import { register } from 'node:module'

register('./sabotage-hooks.js', import.meta.url, { data: process.env.SABOTAGE })
