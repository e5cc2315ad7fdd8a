/** Commits one event per transaction at a steady rate, as a process of its own: commit-load.ts URL RATE. */
import postgres from 'postgres';

const [url = '', rateText = ''] = process.argv.slice(2);
const rate = Number(rateText);
const sql = postgres(url, { max: 8 });
const startedAt = performance.now();
let sent = 0;
let inFlight = 0;
setInterval(() => {
  const due = ((performance.now() - startedAt) / 1000) * rate;
  while (sent < due && inFlight < 64) {
    sent += 1;
    inFlight += 1;
    const user = 1 + Math.floor(Math.random() * 10_000);
    sql`INSERT INTO activity (user_id, kind, at) VALUES (${user}, 'click', now())`.then(
      () => {
        inFlight -= 1;
      },
      () => process.exit(0),
    );
  }
}, 1);
setInterval(() => process.stdout.write(`${sent - inFlight}\n`), 1000);
