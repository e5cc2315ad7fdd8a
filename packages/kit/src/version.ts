/** Which Freshet this is, and on what it runs: told by every node, so that a mesh of two versions is seen as one. */

/** The version of every package of this repository. */
export const VERSION = '0.1.0';

/** "node v24.11.0" */
export const RUNTIME = `node ${process.version}`;
