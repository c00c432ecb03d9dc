import { Emitter } from './emitter.js'

/**
 * One of the user's own channels.
 *
 * @typedef {object} InboxItem
 * @property {string} channel
 * @property {string} epoch
 * @property {number} first
 * @property {number} head
 * @property {string | null} delivered
 * @property {string | null} read
 * @property {number} unread
 */

const OWN = /^(all$|user:|group:)/
const AGAIN_MS = 1_000

/**
 * What is unread in the user's own channels, kept current: by hints, read marks of any device, and
 * asked anew where they cannot tell.
 *
 * @extends {Emitter<{change: {items: InboxItem[], unread: number}}>}
 */
export class Inbox extends Emitter {
  /** @type {Map<string, InboxItem>} */
  #items = new Map()
  #client
  #loading = false
  #stale = true
  /** @type {Promise<void>} */
  #loaded = Promise.resolve()

  /** @param {import('./client.js').Client} client */
  constructor(client) {
    super()
    this.#client = client
    client.on('frame', (frame) => this.#heard(frame))
    client.on('read', ({ channel, cursor }) => this.#read(channel, cursor))
    client.on('sent', ({ results }) => {
      // Who writes has read.
      for (const { channel, epoch, seq } of results ?? []) this.#moved(channel, epoch, seq, true)
    })
  }

  get items() {
    return [...this.#items.values()]
  }

  /** Of all channels together. */
  get unread() {
    return this.items.reduce((sum, each) => sum + each.unread, 0)
  }

  /** @param {string} channel */
  item(channel) {
    return this.#items.get(channel)
  }

  /** Resolves once it is known what is unread. */
  load() {
    if (!this.#loading) {
      this.#loading = true
      this.#loaded = this.#load()
        .catch((error) => {
          this.#stale = true // else the next load would take what is missing for known
          throw error
        })
        .finally(() => (this.#loading = false))
    }
    return this.#loaded
  }

  async #load() {
    while (this.#stale) {
      this.#stale = false
      const items = new Map()
      for (let next = ''; ; ) {
        const page = await this.#client.ask('GET', `/v1/inbox?limit=1000&device=${encodeURIComponent(this.#client.device)}${next}`)
        for (const item of page.items) items.set(item.channel, item)
        if (page.next === null) break
        next = `&next=${encodeURIComponent(page.next)}`
      }
      this.#items = items
    }
    this.#tell()
  }

  #again() {
    this.#stale = true
    this.load().catch(() => this.#client.later(AGAIN_MS, () => this.#again()))
  }

  /** @param {import('./types.js').Frame} frame */
  #heard({ type, channel = '', epoch = '', seq = 0, heads = {} }) {
    if (type === 'hint') this.#moved(channel, epoch, seq, false)
    if (type === 'hello' || type === 'subscribed') {
      for (const [name, head] of Object.entries(heads)) {
        if (OWN.test(name)) this.#items.set(name, { channel: name, unread: 0, ...head })
      }
      // It names a hundred at most; of groups that were left it says nothing.
      if (type === 'hello') this.#again()
      else this.#tell()
    }
  }

  /** @param {string} channel @param {string} epoch @param {number} seq @param {boolean} mine */
  #moved(channel, epoch, seq, mine) {
    const item = this.#items.get(channel)
    if (!item) return OWN.test(channel) && !mine ? this.#again() : undefined
    if (item.epoch !== epoch) return this.#again()
    if (seq <= item.head && !mine) return
    item.unread = mine ? 0 : item.unread + seq - item.head
    item.head = Math.max(item.head, seq)
    if (mine) item.read = `${epoch}.${seq}`
    this.#tell()
  }

  /** @param {string} channel @param {string} cursor */
  #read(channel, cursor) {
    const item = this.#items.get(channel)
    const [epoch, seq] = cursor.split('.')
    if (!item || item.epoch !== epoch) return
    item.read = cursor
    item.unread = Math.min(item.unread, Math.max(item.head - Number(seq), 0))
    this.#tell()
  }

  #tell() {
    this.emit('change', { items: this.items, unread: this.unread })
  }
}
