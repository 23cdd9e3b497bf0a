/** Version of what huskd and the gateway expect of each other; raised with every change that either must know of. */
export const protocolVersion = 4;
