/** The version of husk: that of package.json, which test/architecture compares. */
export const version = '0.1.0';
