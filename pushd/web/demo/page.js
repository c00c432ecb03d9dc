import { connect } from '/client.js'

import { panel } from './panel.js'
import { askForLink, avatar, make, signedIn } from './who.js'
import { Wire } from './wire.js'

const WORDS = { connecting: 'connecting…', live: 'live', fallback: 'polling', offline: 'offline', closed: 'closed' }

export const at = (id) => document.getElementById(id)

/** What both pages have: somebody who is signed in, a client, who and how it is, and the panel. */
export function page(start) {
  const who = signedIn()
  if (!who) return askForLink()
  const wire = new Wire()
  const push = connect(location.origin + who.base, { token: who.token, own: true, tabs: false, fetch: wire.fetch, WebSocket: wire.WebSocket })
  globalThis.push = push // to play with, in the console
  push.on('error', ({ error }) => console.error(error))
  at('me').append(avatar(who.user))
  showPanel(push, wire)
  start({ push, user: who.user })
}

/** How the connection is, in a word or two. */
export function showState({ state: { state, transport }, unsent }) {
  const over = transport === 'sse' ? ' over events' : ''
  const waiting = unsent ? `, ${unsent} to send` : ''
  at('state').replaceChildren(make('span', `dot ${state}`), ` ${WORDS[state]}${over}${waiting}`)
}

function showPanel(push, wire) {
  const { root, close } = panel(push, wire)
  root.hidden = innerWidth < 1088 || sessionStorage.getItem('panel') === 'no'
  document.querySelector('.app').append(root)
  const show = (on) => {
    root.hidden = !on
    sessionStorage.setItem('panel', on ? 'yes' : 'no')
  }
  const button = make('button', '', 'Underneath', { 'aria-label': 'Show what flows underneath' })
  button.onclick = () => show(root.hidden)
  document.querySelector('.talk .bar').append(button)
  close.onclick = () => show(false)
}
