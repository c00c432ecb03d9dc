/**
 * Where cursors are kept, so that a message that was processed does not come again.
 *
 * @typedef {object} CursorStore
 * @property {(names: string[]) => Promise<Record<string, string>> | Record<string, string>} load
 * @property {(cursors: Record<string, string>) => Promise<void> | void} save
 */

/** For this page alone; after a reload the server's record of the device counts. @returns {CursorStore} */
export function memoryStore() {
  /** @type {Map<string, string>} */
  const known = new Map()
  return {
    load: (names) => Object.fromEntries(names.flatMap((name) => {
      const cursor = known.get(name)
      return cursor === undefined ? [] : [[name, cursor]]
    })),
    save(cursors) {
      for (const [name, cursor] of Object.entries(cursors)) known.set(name, cursor)
    }
  }
}

/**
 * In localStorage: one entry for each channel.
 *
 * @param {string} prefix names the server and the user
 * @param {Storage} storage
 * @returns {CursorStore}
 */
export function localStore(prefix, storage) {
  return {
    load: (names) => Object.fromEntries(names.flatMap((name) => {
      const cursor = storage.getItem(`${prefix}:${name}`)
      return cursor === null ? [] : [[name, cursor]]
    })),
    save(cursors) {
      for (const [name, cursor] of Object.entries(cursors)) storage.setItem(`${prefix}:${name}`, cursor)
    }
  }
}

/**
 * In IndexedDB, also for workers.
 *
 * @param {string} name of the database
 * @param {IDBFactory} [factory]
 * @returns {CursorStore}
 */
export function indexedStore(name, factory = globalThis.indexedDB) {
  /** @type {Promise<IDBDatabase> | undefined} */
  let opened
  const open = () => (opened ??= new Promise((resolve, reject) => {
    const request = factory.open(name, 1)
    request.onupgradeneeded = () => request.result.createObjectStore('cursors')
    request.onsuccess = () => resolve(request.result)
    request.onerror = () => reject(request.error)
  }))
  /**
   * @template T
   * @param {IDBTransactionMode} mode
   * @param {(cursors: IDBObjectStore) => T} run
   * @returns {Promise<T>}
   */
  const within = async (mode, run) => {
    const transaction = (await open()).transaction('cursors', mode)
    const result = run(transaction.objectStore('cursors'))
    await new Promise((resolve, reject) => {
      transaction.oncomplete = () => resolve(undefined)
      transaction.onabort = transaction.onerror = () => reject(transaction.error)
    })
    return result
  }
  return {
    async load(names) {
      const found = await within('readonly', (cursors) => names.map((each) => cursors.get(each)))
      return Object.fromEntries(names.flatMap((each, at) => {
        const cursor = found[at]?.result
        return cursor === undefined ? [] : [[each, cursor]]
      }))
    },
    async save(cursors) {
      await within('readwrite', (store) => {
        for (const [each, cursor] of Object.entries(cursors)) store.put(cursor, each)
      })
    }
  }
}
