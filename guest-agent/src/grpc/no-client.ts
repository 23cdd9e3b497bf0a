/**
 * Stands for grpc-js in the agent's bundle (images/inputs.ts): the generated code makes a client class, which
 * the agent never uses, and grpc-js would be most of the bundle.
 */
export function makeGenericClientConstructor(): undefined {
  return undefined;
}
