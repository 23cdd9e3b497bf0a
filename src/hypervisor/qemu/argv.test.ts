import assert from 'node:assert/strict';
import { test } from 'node:test';
import { probeArgv, qemuArgv } from './argv.ts';

const base = { name: 'husk-x', accelerator: 'tcg', vcpus: 2, memoryMiB: 512, cmdline: 'console=ttyS0' } as const;

const clone = `/usr/bin/qemu-system-x86_64
-name guest=husk-x,debug-threads=on
-nodefaults -no-user-config -display none -vga none
-serial none -parallel none -monitor none -L /share
-sandbox on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny
-machine q35,memory-backend=ram,usb=off,vmport=off,smm=off,hpet=off,graphics=off,sata=off,smbus=off,i8042=off,dump-guest-core=off,mem-merge=off
-accel tcg,tb-size=128 -cpu max,erms=off,fsrm=off -smp 2 -m 512
-object main-loop,id=main-loop,thread-pool-max=16
-action panic=pause,shutdown=pause,reboot=shutdown -msg timestamp=on
-object memory-backend-file,id=ram,size=512M,mem-path=/fd/3,share=off
-incoming defer
-chardev socket,id=qmp,fd=5,server=on,wait=off -mon chardev=qmp,mode=control
-chardev socket,id=fds,fd=6,server=on,wait=off -mon chardev=fds,mode=control
-chardev ringbuf,id=console,size=65536 -device isa-serial,id=serial0,chardev=console
-chardev socket,id=agent,fd=7,server=on,wait=off
-device virtio-serial-pci,id=ports,max_ports=4,addr=0x2,ioeventfd=off
-device virtserialport,bus=ports.0,nr=1,chardev=agent,name=husk.agent.0
 -chardev socket,id=stream,fd=31,server=on,wait=off
 -device virtserialport,bus=ports.0,nr=2,chardev=stream,name=husk.stream.0
 -chardev socket,id=share,fd=14,server=on,wait=off
 -device virtserialport,bus=ports.0,nr=3,chardev=share,name=husk.files.0
-add-fd fd=9,set=1
-blockdev driver=raw,node-name=root,read-only=on,file.driver=file,file.filename=/dev/fdset/1,file.locking=off
-device virtio-blk-pci,drive=root,serial=root,num-queues=1,addr=0x3
-blockdev driver=raw,node-name=layers,read-only=on,file.driver=null-co,file.size=1099511627776,file.read-zeroes=on
-device virtio-blk-pci,drive=layers,serial=layers,num-queues=1,addr=0x4
-add-fd fd=10,set=2
-blockdev driver=raw,node-name=data,discard=unmap,cache.no-flush=on,file.driver=file,file.filename=/dev/fdset/2,file.locking=off,file.discard=unmap,file.cache.no-flush=on
-device virtio-blk-pci,drive=data,serial=data,num-queues=1,addr=0x5
-device virtio-scsi-pci,id=volumes,num_queues=1,addr=0x8
-netdev tap,id=net,fd=8
-device virtio-net-pci,netdev=net,mac=52:54:00:68:75:73,guest_announce=off,romfile=,addr=0x6
-object rng-random,id=rng,filename=/dev/urandom
-device virtio-rng-pci,rng=rng,max-bytes=1024,period=1000,addr=0x7
-device vmgenid,guid=auto`.split(/\s+/);

test('the argument vector of a clone is exactly this', () => {
  assert.deepEqual(qemuArgv({ ...base, mode: 'clone' }), clone);
});

test('template, clone and cold boot have the same devices in the same places', () => {
  const devices = (mode: 'cold' | 'template' | 'clone'): string[] => {
    const argv = qemuArgv({ ...base, mode });
    return argv.filter((_, index) => ['-device', '-machine', '-cpu', '-smp', '-m'].includes(argv[index - 1] ?? ''));
  };
  assert.deepEqual(devices('template'), devices('clone'));
  assert.deepEqual(devices('cold'), devices('clone'));
});

test('only a template maps its memory shared, and only what boots has a kernel', () => {
  const has = (mode: 'cold' | 'template' | 'clone', text: string): boolean =>
    qemuArgv({ ...base, mode })
      .join(' ')
      .includes(text);
  assert.equal(has('template', 'share=on'), true);
  assert.equal(has('clone', 'share=on'), false);
  assert.equal(has('cold', '/fd/3'), false);
  assert.equal(has('cold', '-append console=ttyS0 mitigations=off husk.emulated '), true);
  assert.equal(has('template', '-append console=ttyS0 mitigations=off husk.emulated husk.template '), true);
  assert.equal(has('clone', '-kernel'), false);
});

test('no path of the host is in the vector of any machine', () => {
  for (const mode of ['cold', 'template', 'clone'] as const) {
    const paths =
      qemuArgv({ ...base, mode })
        .join(' ')
        .match(/(?<=[ =])\/[^ ,]*/g) ?? [];
    assert.deepEqual(
      paths.filter((path) => !/^\/(fd\/\d+|dev\/fdset\/\d+|dev\/urandom|share)$/.test(path)),
      [],
    );
  }
});

test('KVM has the processor of the host, and the probe has no disk', () => {
  const probe = probeArgv({ name: 'probe', accelerator: 'kvm' }).join(' ');
  assert.match(probe, /-accel kvm -cpu host/);
  assert.doesNotMatch(probe, /-blockdev|-netdev/);
  assert.doesNotMatch(qemuArgv({ ...base, accelerator: 'kvm', mode: 'clone' }).join(' '), /ioeventfd/);
});
