// Exits 0 when node_modules holds exactly what package-lock.json says. Runs on any Node, before
// the pinned one is there, so it is plain JavaScript.
import { readFileSync } from 'node:fs';

function packagesOf(file) {
  return JSON.parse(readFileSync(new URL(file, import.meta.url), 'utf8')).packages;
}

function isCurrent() {
  const wanted = packagesOf('../package-lock.json');
  // Npm's own record of what it has put there.
  const present = packagesOf('../node_modules/.package-lock.json');
  const { dependencies, devDependencies } = JSON.parse(
    readFileSync(new URL('../package.json', import.meta.url), 'utf8'),
  );
  const root = wanted[''];
  if (JSON.stringify([dependencies, devDependencies]) !== JSON.stringify([root.dependencies, root.devDependencies])) {
    return false;
  }
  const paths = Object.keys(wanted).filter((path) => path !== '');
  return (
    Object.keys(present).every((path) => path in wanted) &&
    paths.every((path) => {
      // Packages for other machines are left out by npm.
      if (present[path] === undefined) return wanted[path].optional === true;
      return present[path].integrity === wanted[path].integrity && present[path].version === wanted[path].version;
    })
  );
}

try {
  process.exitCode = isCurrent() ? 0 : 1;
} catch {
  process.exitCode = 1;
}
