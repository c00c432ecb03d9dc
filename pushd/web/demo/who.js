/** Who is signed in: the link that 'make run' prints has a token behind its '#'. */

export const PEOPLE = { alice: 'Alice', bob: 'Bob', carol: 'Carol', dave: 'Dave' }

const COLOURS = ['#0b6b4f', '#a04a00', '#6a3ea1', '#0b5cad', '#8a1c4a', '#3c6a00']

/** @returns {{token: string, user: string, base: string} | undefined} */
export function signedIn() {
  const given = new URLSearchParams(location.hash.slice(1))
  if (given.has('token')) {
    // For this tab; a second window may be somebody else.
    sessionStorage.setItem('token', given.get('token'))
    sessionStorage.setItem('base', given.get('base') ?? '')
    history.replaceState(null, '', location.pathname)
  }
  const token = sessionStorage.getItem('token')
  if (!token) return undefined
  try {
    const claims = JSON.parse(atob(token.split('.')[1].replace(/-/g, '+').replace(/_/g, '/')))
    return { token, user: claims.sub, base: sessionStorage.getItem('base') ?? '' }
  } catch {
    return undefined
  }
}

export const nameOf = (user) => PEOPLE[user] ?? user

export function avatar(user, online) {
  const element = make('span', 'avatar', nameOf(user).slice(0, 1).toUpperCase())
  let hash = 0
  for (const each of user) hash = (hash * 31 + each.codePointAt(0)) % 997
  element.style.background = COLOURS[hash % COLOURS.length]
  if (online !== undefined) element.append(make('span', online ? 'dot online' : 'dot'))
  return element
}

/** An element; text is text, never HTML. */
export function make(tag, classes = '', text = undefined, attributes = {}) {
  const element = document.createElement(tag)
  if (classes) element.className = classes
  if (text !== undefined) element.textContent = text
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value)
  return element
}

export const clock = (at) => new Date(at).toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' })
export const day = (at) => new Date(at).toLocaleDateString([], { weekday: 'long', day: 'numeric', month: 'long' })

/** As short as it can be said. */
export function when(at) {
  const isToday = new Date(at).toDateString() === new Date().toDateString()
  return isToday ? clock(at) : `${new Date(at).toLocaleDateString([], { day: 'numeric', month: 'short' })}, ${clock(at)}`
}

/** Without a link there is nobody to be. */
export function askForLink() {
  document.body.replaceChildren(make('p', 'empty', 'Open this page with one of the links that the server prints when it starts in development mode: they sign you in as somebody.'))
}
