import { at, page, showState } from './page.js'
import { Room } from './rooms.js'
import { PEOPLE, avatar, clock, day, make, nameOf } from './who.js'

page(({ push, user }) => {
  const rooms = [new Room(push, user), ...Object.keys(PEOPLE).filter((each) => each !== user).map((peer) => new Room(push, user, peer))]
  const inbox = push.inbox()
  let current = rooms[0]
  let online = new Set([user])
  let unreadFrom

  // -- what comes ------------------------------------------------------------------------------------

  push.own.on('message', (message) => {
    const room = rooms.find((each) => each.channel === message.channel)
    if (!room?.receive(message)) return
    if (message.sender !== user) room.tell('delivered')
    if (room === current) showMessages()
    showRooms()
  })
  // What is retained is all that there is: a reset loads it anew.
  push.own.on('reset', async ({ channel }) => {
    const room = rooms.find((each) => each.channel === channel)
    if (!room) return
    Object.assign(room, { messages: [], older: true, loaded: false })
    await room.load()
    showAll()
  })
  for (const room of rooms) {
    push.channel(room.ticks, { after: 'head' }).on('message', (message) => {
      room.tick(message)
      if (room === current) showMessages()
    })
  }
  push.presence('group:lobby').on('change', ({ members }) => {
    online = new Set(members.map((each) => each.user))
    showRooms()
    showHead()
  })
  inbox.on('change', () => {
    showRooms()
    readIfSeen()
  })
  push.on('state', () => showState(push))

  // -- what is shown -----------------------------------------------------------------------------------

  function showRooms() {
    const unread = rooms.reduce((sum, room) => sum + (inbox.item(room.channel)?.unread ?? 0), 0)
    document.title = unread ? `(${unread}) Chat` : 'Chat'
    at('rooms').replaceChildren(...rooms.map((room) => {
      const entry = make('li')
      const button = make('button', '', undefined, { 'aria-current': String(room === current) })
      const words = make('span', 'grow')
      const last = room.messages.at(-1)
      words.append(make('div', '', room.title), make('div', 'quiet last', last ? `${last.sender === user ? 'You: ' : ''}${last.data.text}` : room.peer ? '' : 'everybody'))
      button.append(avatar(room.peer ?? 'lobby', room.peer ? online.has(room.peer) : undefined), words)
      const count = inbox.item(room.channel)?.unread
      if (count) button.append(make('span', 'badge', String(count), { 'aria-label': `${count} unread` }))
      button.onclick = () => open(room)
      entry.append(button)
      return entry
    }))
  }

  function showHead() {
    at('title').textContent = current.title
    const there = [...online].filter((each) => each !== user).map(nameOf)
    at('here').textContent = current.peer
      ? online.has(current.peer) ? 'online' : 'offline'
      : there.length ? `${there.join(', ')} ${there.length > 1 ? 'are' : 'is'} here` : 'nobody else is here'
  }

  function showMessages() {
    const list = at('messages')
    const atEnd = list.scrollHeight - list.scrollTop - list.clientHeight < 60
    const items = []
    if (current.older) {
      const button = make('button', 'older', 'Earlier messages')
      button.onclick = () => scrollBack()
      items.push(button)
    }
    let shown = ''
    for (const message of [...current.messages, ...current.pending]) {
      if (message.at && day(message.at) !== shown) items.push(make('li', 'day', (shown = day(message.at))))
      if (unreadFrom && message.seq === unreadFrom) {
        const line = make('li', 'unread-line')
        line.append(make('span', '', 'new'))
        items.push(line)
      }
      items.push(bubble(message))
    }
    if (!items.length) items.push(make('li', 'empty', 'Nothing here yet. Say hello.'))
    list.replaceChildren(...items)
    if (atEnd) list.scrollTop = list.scrollHeight
    readIfSeen()
  }

  function bubble(message) {
    const mine = message.sender === user
    const item = make('li', mine ? 'bubble mine' : 'bubble')
    if (!mine && !current.peer) item.append(make('span', 'who', nameOf(message.sender ?? 'service')))
    item.append(message.data?.text ?? JSON.stringify(message.data))
    const meta = make('span', 'meta', message.at ? `${clock(message.at)} ` : '')
    if (mine) {
      const { text, title, read } = current.ticksOf(message)
      meta.append(make('span', read ? 'ticks read' : 'ticks', text, { title, 'aria-label': title }))
    }
    item.append(meta)
    return item
  }

  function showAll() {
    showState(push)
    showRooms()
    showHead()
    showMessages()
  }

  // -- what the user does --------------------------------------------------------------------------------

  function readIfSeen() {
    const list = at('messages')
    const seen = list.scrollHeight - list.scrollTop - list.clientHeight < 60
    const shown = document.querySelector('.app').dataset.view === 'talk' || innerWidth > 736
    if (document.visibilityState === 'visible' && seen && shown) current.markRead()
  }

  async function open(room) {
    current = room
    document.querySelector('.app').dataset.view = 'talk'
    const item = inbox.item(room.channel)
    unreadFrom = item?.unread ? item.head - item.unread + 1 : undefined
    if (!room.loaded) await room.load().catch((error) => console.error(error))
    if (room !== current) return
    showAll()
    at('messages').scrollTop = at('messages').scrollHeight
    readIfSeen()
    if (innerWidth > 736) at('text').focus()
  }

  async function scrollBack() {
    const list = at('messages')
    const fromEnd = list.scrollHeight - list.scrollTop
    await current.load().catch((error) => console.error(error))
    showMessages()
    list.scrollTop = list.scrollHeight - fromEnd
  }

  at('composer').onsubmit = (event) => {
    event.preventDefault()
    const text = at('text').value.trim()
    if (!text) return
    at('text').value = ''
    const room = current
    const sent = room.send(text)
    showMessages()
    showState(push)
    at('messages').scrollTop = at('messages').scrollHeight
    sent.then(() => showState(push), (error) => {
      room.pending = room.pending.filter((each) => each.data.text !== text)
      at('text').value = text
      showMessages()
      alert(`Not sent: ${error.message}`)
    })
  }
  at('text').onkeydown = (event) => {
    if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
      event.preventDefault()
      at('composer').requestSubmit()
    }
  }
  at('back').onclick = () => {
    document.querySelector('.app').dataset.view = 'rooms'
    showRooms()
  }
  at('messages').onscroll = () => {
    if (at('messages').scrollTop < 40 && current.older && current.loaded) scrollBack()
    readIfSeen()
  }
  document.addEventListener('visibilitychange', readIfSeen)

  at('name').textContent = nameOf(user)
  showAll()
  inbox.load().then(() => Promise.all(rooms.map((room) => room.load().catch(() => {})))).then(() => {
    if (innerWidth > 736) open(current)
    else showAll()
  })
})
