import { PEOPLE, nameOf } from './who.js'

const PAGE = 30

/** Sorts in the order of the channel. */
const key = ({ epoch, seq }) => `${epoch}.${String(seq).padStart(16, '0')}`

/**
 * One conversation: its messages, which of them others have, and what is unread.
 *
 * The lobby is a group. A direct conversation is one inbox of each of the two, written to in one
 * publish: 'user:bob:alice' is what Bob has from and for Alice.
 */
export class Room {
  /** By seq, rising; own ones that are not on disk yet stand at the end. */
  messages = []
  pending = []
  older = true
  loaded = false
  /** user → at (ms) up to which he was given, or has read, what is here */
  delivered = new Map()
  read = new Map()

  constructor(push, me, peer) {
    this.push = push
    this.me = me
    this.peer = peer
    this.channel = peer ? `user:${me}:${peer}` : 'group:lobby'
    this.title = peer ? nameOf(peer) : 'Lobby'
    this.ticks = peer ? `ticks:${[me, peer].sort().join('+')}` : 'ticks:lobby'
    this.to = peer ? { channels: [`user:${peer}:${me}`, this.channel] } : { groups: ['lobby'] }
    this.others = peer ? [peer] : Object.keys(PEOPLE).filter((user) => user !== me)
  }

  /** The newest page, then page by page backwards. */
  async load() {
    if (!this.older) return
    const first = this.messages[0]
    const before = this.loaded && first ? `${first.epoch}.${first.seq}` : undefined
    const page = await this.push.history(this.channel, { before, limit: PAGE })
    this.loaded = true
    this.older = page.more
    for (const message of page.messages) this.take(message)
    if (!before) {
      // What a new device is given from long ago has its turn when somebody scrolls back.
      if (page.more) this.messages = this.messages.filter((each) => key(each) >= key(page.messages[0]))
      const told = await this.push.history(this.ticks, { limit: 50 }).catch(() => ({ messages: [] }))
      for (const each of told.messages) this.tick(each)
      this.tell('delivered')
    }
  }

  /** From a pull; what is older than what is shown comes with history. True when there is more to show. */
  receive(message) {
    const first = this.messages[0]
    if (this.loaded && this.older && first && key(message) < key(first)) return false
    return this.take(message) && this.loaded
  }

  /** Each once, in order. */
  take(message) {
    if (message.type !== 'message') return false
    this.pending = this.pending.filter((each) => each.id !== message.id)
    const at = this.messages.findIndex((each) => key(each) >= key(message))
    if (at >= 0 && key(this.messages[at]) === key(message)) return false
    this.messages.splice(at < 0 ? this.messages.length : at, 0, message)
    return true
  }

  /** Somebody was given, or has read, up to a moment. */
  tick({ sender, data }) {
    const marks = data?.read ? this.read : this.delivered
    if (sender) marks.set(sender, Math.max(marks.get(sender) ?? 0, data.upto))
  }

  /** ✓ on disk, ✓✓ given to, ✓✓ in colour: read by all the others. */
  ticksOf(message) {
    if (!message.at) return { text: '◷', title: 'on its way', read: false }
    const all = (marks) => this.others.every((user) => (marks.get(user) ?? 0) >= message.at)
    if (all(this.read)) return { text: '✓✓', title: 'read', read: true }
    const some = this.others.filter((user) => (this.delivered.get(user) ?? this.read.get(user) ?? 0) >= message.at)
    if (some.length === this.others.length) return { text: '✓✓', title: 'delivered', read: false }
    return { text: '✓', title: some.length ? `given to ${some.map(nameOf).join(', ')}` : 'on disk', read: false }
  }

  async send(text) {
    const id = crypto.randomUUID()
    this.pending.push({ id, sender: this.me, data: { text } })
    await this.push.publish(this.to, { text }, { id })
  }

  /** Tell the others how far we are; they need the newest only. */
  #told = { delivered: 0, read: 0 }
  tell(kind) {
    const upto = this.messages.findLast((each) => each.sender !== this.me)?.at ?? 0
    if (upto <= this.#told[kind]) return
    this.#told[kind] = upto
    if (kind === 'read') this.#told.delivered = upto
    this.push.publish({ channels: [this.ticks] }, { upto, read: kind === 'read' }, { type: 'tick' }).catch(() => {})
  }

  /** The user has seen all of it. */
  markRead() {
    const last = this.messages.at(-1)
    const item = this.push.inbox().item(this.channel)
    if (!last || !item?.unread) return
    this.push.read(this.channel, last.cursor).catch(() => {})
    this.tell('read')
  }
}
