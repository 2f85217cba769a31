import type { Browser, BrowserContextOptions, Locator, Page } from 'playwright-core'
import { readFile } from 'node:fs/promises'
import { createRequire } from 'node:module'
import type { Owner } from './service.ts'
import { token } from './token.ts'

/** A tab with one of the pages, and everything in it that went wrong. */
export interface Tab { readonly page: Page, readonly complaints: string[] }

/** Opens a tab in a profile of its own; it is closed with the test. */
export async function openTab (t: Owner, browser: Browser, options: BrowserContextOptions = {}): Promise<Tab> {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, ...options })
  t.teardown(() => context.close())
  const page = await context.newPage()
  page.setDefaultTimeout(15_000)
  const complaints: string[] = []
  page.on('console', message => { if (['error', 'warning'].includes(message.type())) complaints.push(`console: ${message.text()}`) })
  page.on('pageerror', error => { complaints.push(`error: ${error.message}`) })
  page.on('requestfailed', request => {
    // Aborted: by the page itself, when it leaves.
    if (request.failure()?.errorText !== 'net::ERR_ABORTED') complaints.push(`failed: ${request.url()} ${request.failure()?.errorText}`)
  })
  page.on('response', response => { if (response.status() >= 400) complaints.push(`${response.status()}: ${response.url()}`) })
  return { page, complaints }
}

/** Waits until a page says that it is connected. */
export async function connected ({ page }: Tab, timeout = 20_000): Promise<void> {
  await page.locator('[data-testid=connection][data-state=connected]').waitFor({ timeout })
}

/** Joins by the form, as a visitor of a service in development does. */
export async function joinAs (tab: Tab, url: string, name: string): Promise<void> {
  await tab.page.goto(url)
  await tab.page.getByTestId('join-name').fill(name)
  await tab.page.getByTestId('join-submit').click()
  await connected(tab)
}

/** Joins by a link that holds a token, as it is done where tokens come from elsewhere. */
export async function followLink (tab: Tab, url: string, claims: Record<string, unknown>, { path = '/' } = {}): Promise<void> {
  await tab.page.goto(`${url}${path}#token=${token({ subscribe: ['chat:*', 'events:*'], publish: ['chat:*'], ...claims })}`)
  await connected(tab)
}

export async function say ({ page }: Tab, text: string): Promise<void> {
  await page.getByTestId('message-input').fill(text)
  await page.getByTestId('message-input').press('Enter')
}

/** The message with this text in the log, once it is there, and in this state where one is given. */
export async function row ({ page }: Tab, text: string, { state, timeout = 20_000 }: { state?: string, timeout?: number } = {}): Promise<Locator> {
  const any = page.getByTestId('message').filter({ has: page.getByText(text, { exact: true }) })
  const found = state === undefined ? any : any.and(page.locator(`[data-state=${state}]`))
  await found.waitFor({ timeout })
  return found
}

/** Texts of the log from top to bottom. */
export async function texts ({ page }: Tab): Promise<string[]> {
  return await page.getByTestId('message-text').allTextContents()
}

// What of a browser's window the functions below use; they run in the page.
declare const document: { documentElement: { scrollWidth: number } }
declare const window: { innerWidth: number }
declare const axe: { run (): Promise<{ violations: Array<{ id: string, impact: string, nodes: Array<{ target: string[], failureSummary: string }> }> }> }

/** How far a page reaches beyond the right edge of its window, px. */
export async function overhang ({ page }: Tab): Promise<number> {
  return await page.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
}

/** What axe-core finds in a page that is serious or worse, one line each. */
export async function barriers ({ page }: Tab): Promise<string[]> {
  await page.evaluate(await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8'))
  const { violations } = await page.evaluate(() => axe.run())
  return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical')
    .flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) => `${id} at ${target.join(' ')}: ${failureSummary}`))
}
