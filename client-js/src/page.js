/** Pages that nobody sees hold no polls. */
export function visible() {
  return globalThis.document?.visibilityState !== 'hidden'
}

/** @param {import('./env.js').Env} env */
export function randomId(env) {
  const bytes = globalThis.crypto?.getRandomValues(new Uint8Array(12))
    ?? Array.from({ length: 12 }, () => Math.floor(env.random() * 256))
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('')
}

/** @param {Storage | undefined} storage @param {string} key @param {() => string} make */
export function kept(storage, key, make) {
  const value = storage?.getItem(key) ?? make()
  try {
    storage?.setItem(key, value)
  } catch {
    // Full or forbidden: then it lives as long as the page.
  }
  return value
}

/**
 * What the page tells, until `closed`.
 *
 * @param {AbortSignal} closed
 * @param {{wake: () => void, hide: () => void}} told `wake`: the network is back, or somebody looks
 */
export function watchPage(closed, { wake, hide }) {
  const world = globalThis
  const seen = () => visible() && wake()
  world.addEventListener?.('online', seen)
  world.addEventListener?.('pagehide', hide)
  world.document?.addEventListener('visibilitychange', seen)
  closed.addEventListener('abort', () => {
    world.removeEventListener?.('online', seen)
    world.removeEventListener?.('pagehide', hide)
    world.document?.removeEventListener('visibilitychange', seen)
  })
}
