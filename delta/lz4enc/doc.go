// Package lz4enc makes the LZ4 blocks that the lz4 program makes at level 9, bit for bit.
//
// Kernels are compressed so: CONFIG_KERNEL_LZ4 runs lz4 -l -9. A delta that looks inside them patches the kernel as it
// runs, and then has to give back the compressed one as it was. The LZ4 block format leaves the choice of matches to the
// compressor; what lz4 1.9 chooses is known from its behaviour, and the tests compare with the program itself.
//
// The bytes must never change: deltas that are out there depend on them.
package lz4enc
