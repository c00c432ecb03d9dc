import { at, page, showState } from './page.js'
import { PEOPLE, avatar, make, nameOf, when } from './who.js'

const PAGE = 20

page(({ push, user }) => {
  const channel = `user:${user}:notes`
  const inbox = push.inbox()
  let notes = [] // the newest first
  let older = false

  push.own.on('message', (message) => {
    if (message.channel !== channel) return
    take(message)
    show()
  })
  push.own.on('reset', async ({ channel: of }) => {
    if (of !== channel) return
    notes = []
    await load()
  })
  inbox.on('change', show)
  push.on('state', show)

  function take(message) {
    if (notes.some((each) => each.cursor === message.cursor)) return
    notes = [...notes, message].sort((one, other) => other.at - one.at || other.seq - one.seq)
  }

  async function load() {
    const last = notes.at(-1)
    const page = await push.history(channel, { before: last && `${last.epoch}.${last.seq}`, limit: PAGE })
    older = page.more
    page.messages.forEach(take)
    show()
  }

  function isUnread(note) {
    const item = inbox.item(channel)
    if (!item) return false
    const [epoch, seq] = (item.read ?? 'none.0').split('.')
    return epoch !== note.epoch || note.seq > Number(seq)
  }

  function show() {
    showState(push)
    const unread = inbox.item(channel)?.unread ?? 0
    at('count').hidden = !unread
    at('count').textContent = String(unread)
    at('all').disabled = !unread
    document.title = unread ? `(${unread}) Inbox` : 'Inbox'
    at('older').hidden = !older
    at('notes').replaceChildren(...(notes.length ? notes.map(entry) : [make('li', 'empty', 'No notifications. Send one, to yourself or to somebody who is away.')]))
  }

  function entry(note) {
    const unread = isUnread(note)
    const item = make('li', unread ? 'note unread' : 'note', undefined, { 'data-seq': String(note.seq) })
    const words = make('div', 'grow')
    words.append(make('div', 'title', note.data?.text ?? ''), make('div', 'quiet', `${note.sender ? nameOf(note.sender) : 'service'}, ${when(note.at)}`))
    item.append(avatar(note.sender ?? 'service'), words)
    if (unread) {
      const button = make('button', '', 'Read')
      button.title = 'Marks this one and all before it'
      button.onclick = () => push.read(channel, note.cursor)
      item.append(button)
    }
    return item
  }

  /** What came while the user was away, and a way to the first of it. */
  function guide() {
    const unread = inbox.item(channel)?.unread ?? 0
    if (!unread) return
    const show = make('button', 'primary', 'Show me')
    show.onclick = async () => {
      while (older && notes.filter(isUnread).length < unread) await load()
      document.querySelectorAll('.note.unread').forEach((each, _, all) => each === all[all.length - 1] && each.scrollIntoView({ block: 'center' }))
      at('welcome').hidden = true
    }
    const read = make('button', '', 'Mark all as read')
    read.onclick = () => {
      markAll()
      at('welcome').hidden = true
    }
    at('welcome').replaceChildren(make('div', 'grow', `Welcome back, ${nameOf(user)}. While you were away ${unread === 1 ? 'one notification' : `${unread} notifications`} came.`), show, read)
    at('welcome').hidden = false
  }

  function markAll() {
    if (notes[0]) push.read(channel, notes[0].cursor).catch((error) => console.error(error))
  }

  at('all').onclick = markAll
  at('older').onclick = load
  at('to').append(...Object.keys(PEOPLE).map((each) => make('option', '', each === user ? `${nameOf(each)} (you)` : nameOf(each), { value: each })))
  at('to').value = user
  at('notify').onsubmit = (event) => {
    event.preventDefault()
    const text = at('text').value.trim()
    if (!text) return
    at('text').value = ''
    push.publish({ channels: [`user:${at('to').value}:notes`] }, { text }).then(show, (error) => alert(`Not sent: ${error.message}`))
  }

  show()
  Promise.all([inbox.load(), load()]).then(guide, (error) => console.error(error))
})
