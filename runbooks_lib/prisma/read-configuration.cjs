// Lets Prisma itself read a project's configuration, without a database and without anything secret.
//
//   node read-configuration.cjs PRISMA's-build/index.js migrate status        in the project's folder
//
// Prisma's command line loads prisma.config.*, package.json, .env and the schema as it always does, lists the
// migrations, and hands all of it to its schema engine. PRISMA_SCHEMA_ENGINE_BINARY names observing-engine.cjs, which
// writes down what it is handed. A database's address never gets that far: whatever variable the configuration or the
// schema asks for has a placeholder, an address that leads nowhere and keeps the `schema` of the real one.
//
// A configuration without an address, which Prisma 7 takes from nowhere else, has the placeholder too: of who only
// generates a client, it is whole, and the address that Prisma is run with later is ours.
//
// Environment: RUNBOOKS_PRISMA_SEEN, a private folder; `files.json` in it lists the files that were read.
'use strict'

const childProcess = require('node:child_process')
const fs = require('node:fs')
const path = require('node:path')
const { createRequire, runMain, syncBuiltinESMExports } = require('node:module')
const { parseEnv } = require('node:util')
const { Worker, isMainThread, parentPort, workerData } = require('node:worker_threads')

const SEEN = process.env.RUNBOOKS_PRISMA_SEEN
const MOST_NAMES = 20
const ADDRESS = /^(postgres|postgresql|prisma|prisma\+postgres):\/\//
const NOWHERE = 'runbooks-placeholder' // the user's name in each address that we made

// --- addresses ------------------------------------------------------------------------------------------------

// An address that leads nowhere, with the `schema` parameter of the one that it stands for.
function placeholder(address) {
  const schema = URL.canParse(address ?? '') && new URL(address).searchParams.get('schema')
  return `postgresql://${NOWHERE}@127.0.0.1:9/placeholder${schema ? `?schema=${encodeURIComponent(schema)}` : ''}`
}

const invented = new Set() // names that nobody has set: an .env file that is read later still may
const parts = new Set() // names that .env files set to something else than an address

function provide(name) {
  if (process.env[name]) return
  process.env[name] = placeholder()
  invented.add(name)
}

// Prisma 6 reads .env after the schema, and never sets what is set already.
function takeFrom(text) {
  for (const [name, value] of Object.entries(parseEnv(text)))
    if (!ADDRESS.test(value)) parts.add(name)
    else if (invented.delete(name) || !process.env[name]) process.env[name] = placeholder(value)
}

// --- what is read -----------------------------------------------------------------------------------------------

const files = new Set()

function noteRead(file, text) {
  if (typeof file !== 'string') return
  if (!file.includes(`${path.sep}node_modules${path.sep}`)) files.add(path.resolve(file))
  if (path.basename(file) === '.env') takeFrom(String(text))
  // Prisma 6 has the address's variables in the schema, and asks for them after it has read it
  if (file.endsWith('.prisma')) for (const [, name] of String(text).matchAll(/\benv\(\s*"([^"]+)"/g)) provide(name)
}

function watchReading() {
  const { readFileSync, readFile, promises } = fs
  const readPromised = promises.readFile
  fs.readFileSync = (file, ...rest) => {
    const text = readFileSync(file, ...rest)
    noteRead(file, text)
    return text
  }
  promises.readFile = async (file, ...rest) => {
    const text = await readPromised(file, ...rest)
    noteRead(file, text)
    return text
  }
  fs.readFile = (file, ...rest) => {
    const then = rest.pop()
    readFile(file, ...rest, (error, text) => {
      if (!error) noteRead(file, text)
      then(error, text)
    })
  }
}

// The engine's arguments hold the address, and every user of the machine can read them: they go by another way.
function hideArguments() {
  const { spawn } = childProcess
  childProcess.spawn = (program, given, options) => {
    if (program !== process.env.PRISMA_SCHEMA_ENGINE_BINARY) return spawn(program, given, options)
    const env = { ...process.env, ...options?.env, RUNBOOKS_PRISMA_ARGUMENTS: JSON.stringify(given) }
    delete env.NODE_OPTIONS // an .env file may have set it
    return spawn(program, [], { ...options, env })
  }
}

// --- which variables the configuration asks for -------------------------------------------------------------------

// In a thread of its own, since a module is evaluated once: load the configuration by Prisma's own loader, and say
// what address it has, which variables it asked for that are not set, whether one of them was a must, and whether
// there is no place for an address at all.
async function answerOnce() {
  watchReading()
  const loader = createRequire(workerData)('@prisma/config')
  const asked = new Set()
  process.env = new Proxy(process.env, {
    get(target, name) {
      const value = Reflect.get(target, name)
      if (value === undefined && typeof name === 'string') asked.delete(name), asked.add(name)
      return value
    },
  })
  syncBuiltinESMExports()
  await loader.loadConfigFromFile({ configRoot: SEEN }) // what libraries ask for, an empty configuration shows
  const libraries = new Set(asked)
  const found = await loader.loadConfigFromFile({ configRoot: process.cwd() })
  const needed = found.error?.error?.name === 'PrismaConfigEnvError'
  const url = found.error ? undefined : found.config.datasource?.url
  const bare = !found.error && !('url' in (found.config.datasource ?? {}))
  parentPort.postMessage({ file: found.resolvedPath, url, needed, bare, asked: [...asked].filter((name) => !libraries.has(name)), parts: [...parts] })
}

function load(loaderOf, env) {
  return new Promise((resolve, reject) => {
    const worker = new Worker(__filename, { workerData: loaderOf, env, stdout: true, stderr: true })
    worker.once('message', (found) => {
      resolve(found)
      worker.terminate()
    })
    worker.once('error', reject)
    worker.once('exit', () => resolve({ asked: [], parts: [] }))
  })
}

// Give every variable of the address a placeholder: `env("X")` throws without, `process.env.X` leaves no address.
// Return whether it has no address, whatever is set.
async function provideForConfiguration(prisma) {
  for (let tries = 0; tries < MOST_NAMES; tries++) {
    const found = await load(prisma, process.env)
    if (found.url) {
      await noteParts(prisma, found)
      return false
    }
    if (found.needed) {
      provide(found.asked.at(-1))
      continue
    }
    if (await staysBare(prisma, found)) return true
    // dotenv asks for names of its own before: each load takes a second, and the address comes last
    for (const name of found.asked.slice(-MOST_NAMES).reverse()) {
      if (!(await load(prisma, { ...process.env, [name]: placeholder() })).url) continue
      provide(name)
      break
    }
    return false
  }
  return false
}

// An address may be there only when something is set: then it is not missing, and Prisma says what it wants.
async function staysBare(prisma, found) {
  const set = {}
  for (let tries = 0; found.bare && found.asked.length && tries < MOST_NAMES; tries++) {
    for (const name of found.asked) set[name] = placeholder()
    found = await load(prisma, { ...process.env, ...set })
  }
  return found.bare && !found.asked.length
}

// Let Prisma find a placeholder where its configuration has no address.
function provideAddress(prisma) {
  const require_ = createRequire(prisma)
  const { loadConfigFromFile, ...others } = require_('@prisma/config')
  const load = async (...given) => {
    const found = await loadConfigFromFile(...given)
    if (found.config) found.config.datasource = { ...found.config.datasource, url: placeholder() }
    return found
  }
  require_.cache[require_.resolve('@prisma/config')].exports = { ...others, loadConfigFromFile: load }
}

// An address that is put together from other variables (`${DB_HOST}:${DB_PORT}`) is the environment's, too.
async function noteParts(prisma, { url, asked, parts: set }) {
  const names = [...asked, ...set]
  if (url.includes(`//${NOWHERE}@`) || !names.length) return
  const other = await load(prisma, { ...process.env, ...Object.fromEntries(names.map((name) => [name, '9'])) })
  if (other.url && other.url !== url) process.env.RUNBOOKS_PRISMA_FROM_PARTS = '1'
}

// Early versions of Prisma 6 have no configuration of this kind.
function hasLoader(prisma) {
  try {
    return Boolean(createRequire(prisma)('@prisma/config').loadConfigFromFile)
  } catch (e) {
    if (e.code !== 'MODULE_NOT_FOUND') throw e
    return false
  }
}

const isConfiguration = (name) => /^prisma7?\.config\.[cm]?[jt]s$/.test(name) || name === '.config'

async function main() {
  watchReading()
  hideArguments()
  process.argv.splice(1, 2, path.resolve(process.argv[2]))
  const prisma = process.argv[1]
  if (hasLoader(prisma)) {
    const configured = fs.readdirSync(process.cwd()).some(isConfiguration)
    fs.writeFileSync(path.join(SEEN, 'prisma.config.ts'), 'const nothing: object = {}\nexport default nothing\n')
    const bare = !configured || (await provideForConfiguration(prisma))
    if (bare && parseInt(createRequire(prisma)('../package.json').version) >= 7) provideAddress(prisma)
  }
  process.on('exit', () => fs.writeFileSync(path.join(SEEN, 'files.json'), JSON.stringify([...files])))
  runMain()
}

if (isMainThread) main()
else answerOnce()
