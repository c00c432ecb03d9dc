import { START } from './cursors.js'
import { SESSION } from './state.js'

/** The user's own channels: followed from where the store says, else the server. */
export class Adopter {
  /**
   * @param {import('./state.js').Following} following
   * @param {(names: string[]) => Promise<Record<string, string>>} starts cursors of the store
   * @param {boolean} wanted whether they are followed at all
   */
  constructor(following, starts, wanted) {
    this.following = following
    this.starts = starts
    this.wanted = wanted
  }

  /** What a hello, or the like, names. @param {Record<string, import('./types.js').Head>} heads */
  async met(heads) {
    const names = Object.keys(heads).filter((name) => this.#adopts(name))
    const starts = names.length ? await this.starts(names) : {}
    for (const name of names) {
      const head = heads[name]
      // It may have been followed meanwhile.
      if (head && this.#adopts(name)) this.following.add(name, starts[name] ?? firstContact(name, head))
    }
  }

  /** A pull has brought one. True when its answer is where it begins. @param {string} name */
  async brought(name) {
    if (!this.#adopts(name)) return false
    const start = (await this.starts([name]))[name]
    this.following.add(name, start)
    this.following.suspect([name])
    return start === undefined
  }

  /** @param {string} name */
  #adopts(name) {
    return this.wanted && !this.following.has(name)
  }
}

/**
 * Where the server would begin. Undefined where only it knows: in a group it is where the user joined.
 *
 * @param {string} name
 * @param {import('./types.js').Head} head
 */
function firstContact(name, head) {
  if (head.delivered) return head.delivered
  if (name.startsWith('user:') || name.startsWith(SESSION)) return START
  return name.startsWith('group:') ? undefined : `${head.epoch}.${head.head}`
}
