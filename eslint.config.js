// Style is neostandard's. What Carillon adds are the import directions: which folder may know which,
// as errors rather than as taste. test/lint.test.ts shows each of them being reported.
import neostandard from 'neostandard'

const allFolders = ['src/**/*.ts', 'plugins/**/*.ts', 'client/**/*.ts']
const names = '@typescript-eslint/no-restricted-imports'

/** A config entry that forbids module names by regular expression, for values and for types alike. */
function forbid (files, ...patterns) {
  return { files, rules: { [names]: ['error', { patterns }] } }
}

/**
 * `forbid` for the files of a folder that relative names must not leave, to a depth of four folders: a file `depth` folders down may
 * begin a name with that many `../`, and one more climbs out. `except` is a regular expression of what may be imported from outside.
 */
function closed (folder, { except, message, patterns }) {
  return Array.from({ length: 5 }, (_, depth) => {
    const climbsOut = `^(?:\\.\\./){${depth + 1}}${except ? `(?!${except})` : ''}`
    const climbsLate = '(?:^\\.|[^./])/\\.\\./'
    return forbid([`${folder}/${'*/'.repeat(depth)}*.ts`], { regex: `${climbsOut}|${climbsLate}`, message }, ...patterns)
  })
}

const self = { regex: '^carillon(?:/|$)', message: 'Carillon does not import itself by its package name.' }

// `import()` and `import('x').T` are not seen by the rule above. What they name must then be a package, where that is allowed at all.
const dynamicHidesDirection = 'Import it at the top of the file, where the rules on import directions see it.'
const noDynamicImport = ['error',
  { selector: 'ImportExpression', message: dynamicHidesDirection },
  { selector: 'TSImportType', message: dynamicHidesDirection }
]
const dynamicImportOfPackagesOnly = ['error',
  { selector: 'ImportExpression:not([source.value=/^[@a-z]/])', message: dynamicHidesDirection },
  { selector: 'TSImportType:not([argument.literal.value=/^[@a-z]/])', message: dynamicHidesDirection }
]

const browser = neostandard({ env: ['browser'] }).find((config) => config.name === 'neostandard/globals')

export default [
  { ignores: ['**/dist/', '**/.tap/', '**/coverage/'] },
  { linterOptions: { noInlineConfig: true } },
  ...neostandard({ ts: true }),
  {
    rules: {
      // Control characters are what a protocol has to look for.
      'no-control-regex': 'off',
      // `void task()` marks a promise that is left alone on purpose.
      'no-void': ['error', { allowAsStatement: true }]
    }
  },

  {
    files: ['**/*.ts'],
    rules: {
      '@typescript-eslint/no-explicit-any': 'error',
      '@typescript-eslint/ban-ts-comment': 'error',
      // `import { type T } from 'x'` still loads x; `import type` does not.
      '@typescript-eslint/no-import-type-side-effects': 'error',
      // A schema and its type share one name; tsc reports what is really declared twice.
      '@typescript-eslint/no-redeclare': 'off'
    }
  },

  { files: allFolders, rules: { 'no-console': 'error' } },
  {
    files: allFolders,
    ignores: ['src/server.ts', 'src/config.ts'],
    rules: {
      'no-restricted-properties': ['error', { object: 'process', property: 'env', message: 'The environment is read in src/config.ts; take a Config.' }],
      'no-restricted-imports': ['error', {
        paths: ['process', 'node:process'].map((name) => ({ name, importNames: ['env'], message: 'The environment is read in src/config.ts; take a Config.' }))
      }]
    }
  },

  // The core knows no framework: node:*, itself, the types of ws and ioredis, and one library.
  ...closed('src/core', {
    message: 'src/core imports only itself: no route, no plugin, no application.',
    patterns: [
      { regex: '^(?!\\.{1,2}/|node:|secure-json-parse$|ws$|ioredis$)', message: 'src/core imports node:*, itself, secure-json-parse and the types of ws and ioredis.' },
      { regex: '^(?:ws|ioredis)$', allowTypeImports: true, message: 'src/core knows ws and ioredis by their types only: import type.' }
    ]
  }),
  { files: ['src/core/**/*.ts'], rules: { 'no-restricted-syntax': noDynamicImport } },
  // Browsers load it too.
  forbid(['src/core/protocol.ts'], { regex: '.', message: 'src/core/protocol.ts imports nothing.' }),

  // The plugins put the core on the instance.
  forbid(['plugins/**/*.ts'], self, { regex: '^\\..*/src/(?:routes|app|server)(?:[./]|$)', message: 'A plugin imports the core, never a route, the application or the process.' }),
  // The routes put it on the wire.
  forbid(['src/routes/**/*.ts'], self, { regex: '^\\..*/plugins(?:/|$)', message: 'A route uses what plugins decorate the instance with, never a plugin.' }),
  { files: ['plugins/**/*.ts', 'src/routes/**/*.ts'], rules: { 'no-restricted-syntax': dynamicImportOfPackagesOnly } },

  // The client has no dependency and shares one file with the server.
  ...closed('client', {
    except: 'src/core/protocol\\.ts$',
    message: 'The client imports itself and src/core/protocol.ts.',
    patterns: [{ regex: '^(?!\\.{1,2}/)', message: 'The client has no dependency and runs in browsers.' }]
  }),
  { files: ['client/**/*.ts'], rules: { 'no-restricted-syntax': noDynamicImport } },
  // What few pages want is loaded where they want it.
  {
    files: ['client/client.ts'],
    rules: { 'no-restricted-syntax': ['error', { selector: "ImportExpression:not([source.value='./share/share.ts'])", message: dynamicHidesDirection }, noDynamicImport[2]] }
  },

  {
    files: ['examples/**/*.js'],
    languageOptions: { globals: { ...browser.languageOptions.globals, process: 'off', Buffer: 'off', global: 'off', require: 'off' } },
    rules: { 'no-console': 'error' }
  }
]
