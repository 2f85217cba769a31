// Loaded before anything is drawn, so that a chosen theme does not flash: no module, since those wait for the page.
{
  const KEY = 'carillon.theme'
  const root = document.documentElement
  const dark = matchMedia('(prefers-color-scheme: dark)')

  const chosen = () => {
    try {
      return localStorage.getItem(KEY)
    } catch {
      return null
    }
  }
  const apply = theme => {
    if (theme === 'light' || theme === 'dark') root.dataset.theme = theme
    else delete root.dataset.theme
  }
  const shown = () => root.dataset.theme ?? (dark.matches ? 'dark' : 'light')

  apply(chosen())
  document.addEventListener('DOMContentLoaded', () => {
    const button = document.getElementById('theme')
    const label = () => button.setAttribute('aria-label', `Switch to ${shown() === 'dark' ? 'light' : 'dark'} colours`)
    button.addEventListener('click', () => {
      const next = shown() === 'dark' ? 'light' : 'dark'
      // What the system says as well is not a choice: the page follows the system again.
      const own = next !== (dark.matches ? 'dark' : 'light')
      apply(own ? next : undefined)
      try {
        if (own) localStorage.setItem(KEY, next)
        else localStorage.removeItem(KEY)
      } catch {}
      label()
    })
    dark.addEventListener('change', label)
    label()
  })
}
