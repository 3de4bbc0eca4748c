/// Why an instruction is not carried out.
public enum Refusal: Error, Hashable, Sendable, CaseIterable {
  /// A halfword of zeros, which is no instruction by definition: the code has ended, or never was any.
  case zero
  /// `lr`, `sc`, `amo…`: they write.
  case atomic
  /// F and D, and their compressed loads and stores.
  case floatingPoint
  /// V.
  case vector
  /// `csrrw` and its kin: control and status registers have side effects, and belong to the CPU that was stopped.
  case controlRegister
  /// `ecall`.
  case environmentCall
  /// `ebreak`, `c.ebreak`.
  case breakpoint
  /// `sret`, `wfi`, `sfence.vma`, hypervisor loads and the like.
  case privileged
  /// `cbo.zero` and its kin.
  case cacheBlock
  /// Reserved, or of an extension beyond RV64IMAFDCV.
  case unknown

  /// What it is and why it is not carried out, as the end of a sentence that begins `the instruction 0x… at 0x…`.
  var explanation: String {
    switch self {
    case .zero: "is no instruction: no code lies there"
    case .atomic: "is atomic (lr, sc or amo): it would write to the kernel's memory, which is not done"
    case .floatingPoint: "uses floating point, which is not followed"
    case .vector: "uses vectors, which are not followed"
    case .controlRegister: "uses a control and status register, whose value belongs to the stopped CPU"
    case .environmentCall: "is an ecall: it leaves the kernel"
    case .breakpoint: "is an ebreak: a BUG or WARN of the kernel, or a breakpoint that the debugger put there"
    case .privileged: "is privileged, which is not followed"
    case .cacheBlock: "manages a cache block, which is not done"
    case .unknown: "is not of RV64IMC; nothing beyond is followed"
    }
  }
}
