#!/usr/bin/env node
// Stands where Prisma's command line starts its schema engine, and only writes down what it is handed: the schema's
// files, the address (without user and password), the migrations. It connects to nothing. See read-configuration.cjs.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const readline = require('node:readline')

const SEEN = process.env.RUNBOOKS_PRISMA_SEEN
const given = JSON.parse(process.env.RUNBOOKS_PRISMA_ARGUMENTS ?? '[]')

function valuesOf(...names) {
  return given.flatMap((arg, i) => (names.includes(arg) ? [given[i + 1]] : []))
}

function parts(address) {
  if (!URL.canParse(address)) return { readable: false }
  const { username, hostname, port, pathname, searchParams } = new URL(address)
  return {
    readable: true,
    fromEnvironment: username === 'runbooks-placeholder' || process.env.RUNBOOKS_PRISMA_FROM_PARTS === '1',
    host: searchParams.get('host') ?? decodeURIComponent(hostname).replace(/^\[|\]$/g, ''),
    port: Number(port || 5432),
    database: decodeURIComponent(pathname.slice(1)),
    schema: searchParams.get('schema'),
  }
}

function note(name, content) {
  fs.writeFileSync(path.join(SEEN, `${name}.json`), JSON.stringify(content))
}

const [datasource] = valuesOf('--datasource')
if (datasource !== undefined) {
  // Prisma 6 gives a bare URL, Prisma 7 and the RPC mode an object in JSON; for migrations `directUrl` wins
  const address = datasource.startsWith('{') ? JSON.parse(datasource) : { url: datasource }
  note('address', parts(address.directUrl ?? address.url ?? ''))
}

if (given.includes('cli')) {
  process.stderr.write('{}\n') // Prisma skips the first line
  process.exit(0)
}

note('schemas', valuesOf('--datamodels', '-d'))
const lines = readline.createInterface({ input: process.stdin })
lines.on('line', (line) => {
  const { id, method, params } = JSON.parse(line)
  if (method === 'diagnoseMigrationHistory') note('migrations', params.migrationsList?.baseDir ?? params.migrationsDirectoryPath)
  const data = { is_panic: false, message: 'The configuration was read.', meta: null }
  process.stdout.write(JSON.stringify({ jsonrpc: '2.0', id, error: { code: 4466, message: 'read', data } }) + '\n')
})
lines.on('close', () => process.exit(0))
