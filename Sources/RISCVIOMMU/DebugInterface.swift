public import IOMMUModel
import PageTables

extension RISCVIOMMUDevice {
  /// TR_REQ_IOVA, TR_REQ_CTL and TR_RESPONSE.
  public var debugTranslator: (any DebugTranslator)? { DebugInterface(device: self) }
}

/// The translation-request interface, which a device with CAPABILITIES.DBG has (sections 5.25 and 5.26).
///
/// QEMU 10.0 takes 8 bytes at once and answers while TR_REQ_CTL is written. It looks into its cache first, as for any access,
/// and puts nothing into it.
struct DebugInterface: DebugTranslator {
  let device: RISCVIOMMUDevice

  func obstacle(_ registers: RegisterValues) -> String? {
    guard let capabilities = registers[RISCVIOMMURegister.capabilities],
      let directory = registers[RISCVIOMMURegister.directory]
    else { return "CAPABILITIES and DDTP could not be read." }
    guard Capabilities(rawValue: capabilities).hasDebugTranslation else {
      return "it has no debug translation: DBG, bit 31 of CAPABILITIES, is 0."
    }
    if DirectoryPointer(rawValue: directory).mode == .off {
      return "it is off (DDTP is \(hex(directory))): every access is refused, and there is nothing to translate by."
    }
    if let control = registers[RISCVIOMMURegister.requestControl], isBusy(control) {
      return "somebody else's request is under way (TR_REQ_CTL is \(hex(control)))."
    }
    return nil
  }

  /// DID 63:40, PV 32, PID 31:12, NW 3, Exe 2, Priv 1, Go/Busy 0.
  func writes(for request: DebugRequest) throws(TargetError) -> [RegisterWrite] {
    guard request.requester.rawValue >> 24 == 0 else {
      throw TargetError("A device id has 24 bits, not \(hex(UInt64(request.requester.rawValue))).")
    }
    var control = UInt64(request.requester.rawValue) << 40 | 1
    if let process = request.process {
      guard process >> 20 == 0 else { throw TargetError("A process id has 20 bits, not \(hex(UInt64(process))).") }
      control |= 1 << 32 | UInt64(process) << 12
    } else if request.isPrivileged {
      throw TargetError("Only an access for a process can be privileged: name one with -process.")
    }
    if !request.writes { control |= 1 << 3 }
    if request.executes { control |= 1 << 2 }
    if request.isPrivileged { control |= 1 << 1 }
    return [
      RegisterWrite(offset: RISCVIOMMURegister.requestAddress, value: request.iova.rawValue),
      RegisterWrite(offset: RISCVIOMMURegister.requestControl, value: control),
    ]
  }

  func isBusy(_ control: UInt64) -> Bool { control & 1 == 1 }

  var response: UInt64 { RISCVIOMMURegister.response }

  /// Fault 0, S 9, PPN 53:10. With S the page number is that of a superpage of 2^(n + 13) bytes, n the number of ones below
  /// its lowest zero.
  func answer(_ value: UInt64) -> DebugAnswer {
    let field = value & (1 << 54 - 1) & ~0x3ff
    if value & 1 == 1 {
      guard device.implementation.has(.responseNamesCause) else {
        return DebugAnswer(value: value, result: .refused(nil), deviations: [])
      }
      return DebugAnswer(
        value: value, result: .refused(RISCVIOMMUFault.cause(UInt16(field >> 10 & 0xfff))),
        deviations: [Quirk.responseNamesCause.summary])
    }
    let (page, size): (UInt64, UInt64)
    if device.implementation.has(.responseLosesBits) {
      (page, size) = (field & (1 << 44 - 1), 0x400)
    } else {
      let superpage = value >> 9 & 1 == 1 ? UInt64((~(field >> 10)).trailingZeroBitCount) + 1 : 0
      (page, size) = (field >> 10 & ~(1 << min(superpage, 44) - 1), 1 << min(superpage, 44))
    }
    let first = GPA(page << 12)
    return DebugAnswer(
      value: value, result: .translated(first...(first + (size << 12 - 1))),
      deviations: size == 0x400 && device.implementation.has(.responseLosesBits)
        ? [Quirk.responseLosesBits.summary] : [])
  }

  var caveat: String? {
    device.implementation.has(.answersFromCache)
      ? "\(Quirk.answersFromCache.summary). So the tables may say otherwise by now, or allow less." : nil
  }

  func expected(
    _ request: DebugRequest, registers: RegisterValues, memory: any PhysicalMemory
  ) -> (device: DeviceTranslation, specification: DeviceTranslation) {
    let transaction = Transaction(
      requester: request.requester, iova: request.iova, access: request.writes ? .readWrite : .read,
      executes: request.executes, process: request.process, isPrivileged: request.isPrivileged)
    return (
      device.translate(transaction, registers: registers, memory: memory),
      RISCVIOMMUDevice(.specification).translate(transaction, registers: registers, memory: memory)
    )
  }

  /// How far FQT has moved.
  func reported(before: RegisterValues, after: RegisterValues) -> Int? {
    guard let base = after[RISCVIOMMURegister.faultBase], let old = before[RISCVIOMMURegister.faultTail],
      let new = after[RISCVIOMMURegister.faultTail]
    else { return nil }
    return Int(exactly: (new &- old) & (QueueBase(rawValue: base).count - 1))
  }
}
