/**
 * Which tests there are, and what may run beside what. A file's suffix says what it needs: .test.ts nothing,
 * .pg.test.ts a real Postgres (it brings it itself), .e2e.test.ts the whole mesh. The latter two run one at a time,
 * because each is several processes and waits for real time.
 */
import { defineConfig } from 'vitest/config';

const folders = ['packages', 'services', 'test', 'examples', 'scripts'];
const files = (suffix: string): string[] => folders.map((folder) => `${folder}/**/*${suffix}`);

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: files('.test.ts'),
          exclude: ['**/node_modules/**', ...files('.pg.test.ts'), ...files('.e2e.test.ts')],
          testTimeout: 60_000,
          sequence: { groupOrder: 0 },
        },
      },
      {
        test: {
          name: 'postgres',
          include: files('.pg.test.ts'),
          testTimeout: 60_000,
          hookTimeout: 60_000,
          maxWorkers: 1,
          sequence: { groupOrder: 1 },
        },
      },
      {
        test: {
          name: 'mesh',
          include: files('.e2e.test.ts'),
          testTimeout: 60_000,
          hookTimeout: 120_000,
          maxWorkers: 1,
          sequence: { groupOrder: 2 },
        },
      },
    ],
  },
});
