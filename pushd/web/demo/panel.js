import { make } from './who.js'

const MOST = 300
const TRANSPORTS = [['auto', undefined], ['WebSocket', 'websocket'], ['events', 'sse'], ['polls', 'poll']]

/** What flows underneath: state, cursors, every frame and request; and switches to break it. */
export function panel(push, wire) {
  const root = make('aside', 'panel', undefined, { 'aria-label': 'Underneath' })
  const close = make('button', '', 'Close')
  const bar = make('div', 'bar')
  bar.append(make('h1', 'grow', 'Underneath'), close)
  const state = make('p')
  const cursors = make('table')
  const log = make('ol', 'log')
  root.append(bar, section('Connection', state, switches(wire)), section('Cursors', cursors), section('Raw frame', raw(wire)), log)
  const show = () => {
    const { state: name, transport, reason } = push.state
    state.replaceChildren(make('span', `dot ${name}`), ` ${name}`, transport ? ` over ${transport}` : '', reason && name !== 'live' ? ` (${reason})` : '')
    cursors.replaceChildren(...Object.entries(push.cursors).sort().map(([channel, cursor]) => {
      const row = make('tr')
      row.append(make('td', '', channel), make('td', '', cursor ?? '…'))
      return row
    }))
  }
  push.on('state', show)
  wire.addEventListener('note', ({ detail: { at, way, kind, text } }) => {
    const line = make('li')
    const arrow = way === 'in' ? '←' : way === 'out' ? '→' : '✕'
    const time = new Date(at).toISOString().slice(14, 23)
    line.append(make('span', 'quiet', `${time} `), make('span', way, `${arrow} ${kind} `), text.slice(0, 600))
    log.prepend(line)
    while (log.childElementCount > MOST) log.lastChild.remove()
    requestAnimationFrame(show)
  })
  show()
  return { root, close }
}

function section(title, ...content) {
  const element = make('section')
  element.append(make('h2', '', title), ...content)
  return element
}

function toggle(text, change) {
  const button = make('button', '', text, { 'aria-pressed': 'false' })
  button.onclick = () => {
    const on = button.getAttribute('aria-pressed') !== 'true'
    button.setAttribute('aria-pressed', String(on))
    change(on)
  }
  return button
}

function switches(wire) {
  const row = make('div', 'row')
  row.append(
    toggle('Cut the line', (on) => wire.cut(on)),
    toggle('Drop hints', (on) => (wire.dropsHints = on))
  )
  const picks = make('div', 'row', undefined, { role: 'group', 'aria-label': 'Transport' })
  for (const [text, transport] of TRANSPORTS) {
    const button = make('button', '', text, { 'aria-pressed': String(!transport) })
    button.onclick = () => {
      for (const each of picks.children) each.setAttribute('aria-pressed', String(each === button))
      wire.force(transport)
    }
    picks.append(button)
  }
  picks.style.marginTop = '.4rem'
  const both = make('div')
  both.style.marginTop = '.5rem'
  both.append(row, picks)
  return both
}

function raw(wire) {
  const form = make('form', 'row')
  const text = make('input', 'grow', undefined, { value: '{"type":"ping"}', 'aria-label': 'Frame', spellcheck: 'false' })
  const send = make('button', '', 'Send')
  const problem = make('p', 'quiet')
  form.append(text, send, problem)
  form.onsubmit = (event) => {
    event.preventDefault()
    problem.textContent = wire.send(text.value) ? '' : 'There is no WebSocket now.'
  }
  return form
}
