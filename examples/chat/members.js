import { avatar, byId, element, setText } from '../common/dom.js'

/** Who is in the channel. On narrow windows the list opens on demand. */
export class Members {
  #user
  #toggle = byId('members-toggle')

  constructor ({ user, signal }) {
    this.#user = user
    this.#toggle.addEventListener('click', () => this.#open(this.#toggle.getAttribute('aria-expanded') !== 'true'), { signal })
    byId('app').addEventListener('keydown', event => {
      if (event.key !== 'Escape' || this.#toggle.getAttribute('aria-expanded') !== 'true') return
      this.#open(false)
      this.#toggle.focus()
    }, { signal })
    signal.addEventListener('abort', () => {
      this.#open(false)
      byId('members-list').replaceChildren()
    })
  }

  show ({ channel }) {
    const members = [...channel.presence.members.values()]
    // Oneself first, then by name: a list that keeps its order as people come and go.
    members.sort((a, b) => (b.user === this.#user) - (a.user === this.#user) || a.user.localeCompare(b.user))
    setText(byId('members-number'), members.length === 0 ? '' : String(members.length))
    setText(byId('members-count'), String(members.length))
    if (members.length === 0) {
      byId('members-list').replaceChildren(element('li', { className: 'hint' }, 'Looking around …'))
      return
    }
    byId('members-list').replaceChildren(...members.map(({ user }) => element('li', { data: { testid: 'member', user } },
      avatar(user, 'small'),
      element('bdi', {}, user),
      ...user === this.#user ? [element('span', { className: 'you' }, 'you')] : [],
      element('span', { className: 'presence', attributes: { 'aria-hidden': 'true' } }))))
  }

  #open (open) {
    this.#toggle.setAttribute('aria-expanded', String(open))
    byId('members').classList.toggle('open', open)
  }
}
