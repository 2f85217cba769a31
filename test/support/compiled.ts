import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

/**
 * Has V8 compile a function, does something, and answers whether the function was compiled before it, and still is after it.
 * In a process of its own, which nobody's loaders share, with V8's own test functions. All parts are JavaScript.
 */
export async function compiledAcross ({ imports, things, task, then }: {
  /** Names, and the compiled module that has each, by its URL. */
  imports: Readonly<Record<string, string>>
  /** An expression for what the task is done with. */
  things: string
  /** A function of one of them. It may call `aside()`, of which V8 knows nothing. */
  task: string
  /** What is done to the last one, `thing`. */
  then: string
}): Promise<{ before: boolean, after: boolean }> {
  const { stdout } = await promisify(execFile)(process.execPath, ['--allow-natives-syntax', '--input-type=module', '--eval', `
    ${Object.entries(imports).map(([name, url]) => `import { ${name} } from ${JSON.stringify(url)}`).join('\n')}
    const count = { calls: 0 }
    function aside () { count.calls++ };
    %NeverOptimizeFunction(aside)
    const things = ${things};
    const task = ${task};
    %PrepareFunctionForOptimization(task)
    for (let i = 0; i < 5; i++) for (const thing of things) task(thing);
    %OptimizeFunctionOnNextCall(task)
    task(things[0])
    // V8, src/runtime/runtime.h: OptimizationStatus::kOptimized
    const compiled = () => (%GetOptimizationStatus(task) & 16) !== 0
    const before = compiled()
    const thing = things.at(-1);
    ${then}
    console.log(JSON.stringify({ before, after: compiled() }))
  `], { env: { ...process.env, NODE_OPTIONS: '' } })
  return JSON.parse(stdout) as { before: boolean, after: boolean }
}
