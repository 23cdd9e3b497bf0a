import { MemoryRecords } from './memory-records.ts';
import { parseSample, recordStoreContract } from './records.contract.ts';

recordStoreContract('in memory', (use) => use(new MemoryRecords(parseSample)));
