PRAGMA application_id = 1229933900;
PRAGMA user_version = 4;
CREATE TABLE call(event INTEGER PRIMARY KEY REFERENCES event(id), kind TEXT NOT NULL, number INTEGER NOT NULL,
                  function TEXT NOT NULL, domain INTEGER NOT NULL, iova INTEGER NOT NULL, length INTEGER NOT NULL,
                  page_size INTEGER, page_count INTEGER, target INTEGER, prot INTEGER, gfp INTEGER,
                  requester INTEGER, root INTEGER, mode TEXT, origin TEXT);
INSERT INTO "call" VALUES(6,'map',1,'xt_iommu_map',-45035996269247968,4294963200,4096,4096,1,2257096704,7,3520,8,2253180928,'sv39',NULL);
INSERT INTO "call" VALUES(11,'map',2,'xt_iommu_map',-45035996269247968,4294950912,8192,4096,2,2281701376,7,3520,8,2253180928,'sv39',NULL);
INSERT INTO "call" VALUES(13,'map',3,'xt_iommu_map',-45035996269247968,4294946816,4096,4096,1,2228576256,6,2080,8,2253180928,'sv39',NULL);
INSERT INTO "call" VALUES(15,'map',4,'xt_iommu_map',-45035996269247968,4294942720,4096,4096,1,2228576256,6,2080,8,2253180928,'sv39',NULL);
INSERT INTO "call" VALUES(17,'map',5,'xt_iommu_map',-45035996269247968,4294938624,4096,4096,1,2261012480,6,2080,8,2253180928,'sv39',NULL);
INSERT INTO "call" VALUES(19,'map',6,'xt_iommu_map',-45035996269247968,4294934528,4096,4096,1,2261012480,6,2080,8,2253180928,'sv39',NULL);
CREATE TABLE caller(call INTEGER NOT NULL REFERENCES event(id), depth INTEGER NOT NULL, function TEXT NOT NULL,
                    PRIMARY KEY(call, depth)) WITHOUT ROWID;
INSERT INTO "caller" VALUES(6,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(6,1,'__iommu_map');
INSERT INTO "caller" VALUES(6,2,'iommu_map');
INSERT INTO "caller" VALUES(6,3,'iommu_dma_alloc');
INSERT INTO "caller" VALUES(6,4,'dma_alloc_attrs');
INSERT INTO "caller" VALUES(6,5,'dma_alloc_coherent');
INSERT INTO "caller" VALUES(6,6,'e1000_alloc_ring_dma');
INSERT INTO "caller" VALUES(6,7,'e1000e_setup_tx_resources');
INSERT INTO "caller" VALUES(6,8,'e1000e_open');
INSERT INTO "caller" VALUES(6,9,'lab_nic_open');
INSERT INTO "caller" VALUES(6,10,'start_kernel');
INSERT INTO "caller" VALUES(6,11,'kernel_entry');
INSERT INTO "caller" VALUES(11,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(11,1,'__iommu_map');
INSERT INTO "caller" VALUES(11,2,'iommu_map');
INSERT INTO "caller" VALUES(11,3,'iommu_dma_alloc');
INSERT INTO "caller" VALUES(11,4,'dma_alloc_attrs');
INSERT INTO "caller" VALUES(11,5,'dma_alloc_coherent');
INSERT INTO "caller" VALUES(11,6,'e1000_alloc_ring_dma');
INSERT INTO "caller" VALUES(11,7,'e1000e_setup_rx_resources');
INSERT INTO "caller" VALUES(11,8,'e1000e_open');
INSERT INTO "caller" VALUES(11,9,'lab_nic_open');
INSERT INTO "caller" VALUES(11,10,'start_kernel');
INSERT INTO "caller" VALUES(11,11,'kernel_entry');
INSERT INTO "caller" VALUES(13,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(13,1,'__iommu_map');
INSERT INTO "caller" VALUES(13,2,'iommu_map');
INSERT INTO "caller" VALUES(13,3,'__iommu_dma_map');
INSERT INTO "caller" VALUES(13,4,'iommu_dma_map_page');
INSERT INTO "caller" VALUES(13,5,'dma_map_page_attrs');
INSERT INTO "caller" VALUES(13,6,'dma_map_page');
INSERT INTO "caller" VALUES(13,7,'e1000_alloc_rx_buffers');
INSERT INTO "caller" VALUES(13,8,'e1000e_open');
INSERT INTO "caller" VALUES(13,9,'lab_nic_open');
INSERT INTO "caller" VALUES(13,10,'start_kernel');
INSERT INTO "caller" VALUES(13,11,'kernel_entry');
INSERT INTO "caller" VALUES(15,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(15,1,'__iommu_map');
INSERT INTO "caller" VALUES(15,2,'iommu_map');
INSERT INTO "caller" VALUES(15,3,'__iommu_dma_map');
INSERT INTO "caller" VALUES(15,4,'iommu_dma_map_page');
INSERT INTO "caller" VALUES(15,5,'dma_map_page_attrs');
INSERT INTO "caller" VALUES(15,6,'dma_map_page');
INSERT INTO "caller" VALUES(15,7,'e1000_alloc_rx_buffers');
INSERT INTO "caller" VALUES(15,8,'e1000e_open');
INSERT INTO "caller" VALUES(15,9,'lab_nic_open');
INSERT INTO "caller" VALUES(15,10,'start_kernel');
INSERT INTO "caller" VALUES(15,11,'kernel_entry');
INSERT INTO "caller" VALUES(17,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(17,1,'__iommu_map');
INSERT INTO "caller" VALUES(17,2,'iommu_map');
INSERT INTO "caller" VALUES(17,3,'__iommu_dma_map');
INSERT INTO "caller" VALUES(17,4,'iommu_dma_map_page');
INSERT INTO "caller" VALUES(17,5,'dma_map_page_attrs');
INSERT INTO "caller" VALUES(17,6,'dma_map_page');
INSERT INTO "caller" VALUES(17,7,'e1000_alloc_rx_buffers');
INSERT INTO "caller" VALUES(17,8,'e1000e_open');
INSERT INTO "caller" VALUES(17,9,'lab_nic_open');
INSERT INTO "caller" VALUES(17,10,'start_kernel');
INSERT INTO "caller" VALUES(17,11,'kernel_entry');
INSERT INTO "caller" VALUES(19,0,'__iommu_map_pages');
INSERT INTO "caller" VALUES(19,1,'__iommu_map');
INSERT INTO "caller" VALUES(19,2,'iommu_map');
INSERT INTO "caller" VALUES(19,3,'__iommu_dma_map');
INSERT INTO "caller" VALUES(19,4,'iommu_dma_map_page');
INSERT INTO "caller" VALUES(19,5,'dma_map_page_attrs');
INSERT INTO "caller" VALUES(19,6,'dma_map_page');
INSERT INTO "caller" VALUES(19,7,'e1000_alloc_rx_buffers');
INSERT INTO "caller" VALUES(19,8,'e1000e_open');
INSERT INTO "caller" VALUES(19,9,'lab_nic_open');
INSERT INTO "caller" VALUES(19,10,'start_kernel');
INSERT INTO "caller" VALUES(19,11,'kernel_entry');
CREATE TABLE cookie(event INTEGER PRIMARY KEY REFERENCES event(id), domain INTEGER NOT NULL, held INTEGER NOT NULL,
                    callers TEXT NOT NULL);
CREATE TABLE event(id INTEGER PRIMARY KEY, session INTEGER NOT NULL REFERENCES session(id), sequence INTEGER NOT NULL,
                   monotonic_ns INTEGER NOT NULL, kind TEXT NOT NULL);
INSERT INTO "event" VALUES(1,1,1,39178900874460,'fact');
INSERT INTO "event" VALUES(2,1,2,39178910647663,'fact');
INSERT INTO "event" VALUES(3,1,3,39178910877043,'fact');
INSERT INTO "event" VALUES(4,1,4,39180162055538,'fact');
INSERT INTO "event" VALUES(5,1,5,39180162691852,'fact');
INSERT INTO "event" VALUES(6,1,6,39180716414939,'map');
INSERT INTO "event" VALUES(7,1,7,39180741140801,'fact');
INSERT INTO "event" VALUES(8,1,8,39180744895735,'fact');
INSERT INTO "event" VALUES(9,1,9,39180745578856,'fact');
INSERT INTO "event" VALUES(10,1,10,39181031569384,'verification');
INSERT INTO "event" VALUES(11,1,11,39181031609730,'map');
INSERT INTO "event" VALUES(12,1,12,39181313558987,'verification');
INSERT INTO "event" VALUES(13,1,13,39181313597209,'map');
INSERT INTO "event" VALUES(14,1,14,39181593968887,'verification');
INSERT INTO "event" VALUES(15,1,15,39181593998453,'map');
INSERT INTO "event" VALUES(16,1,16,39181872856781,'verification');
INSERT INTO "event" VALUES(17,1,17,39181872892148,'map');
INSERT INTO "event" VALUES(18,1,18,39182111125350,'verification');
INSERT INTO "event" VALUES(19,1,19,39182111156869,'map');
INSERT INTO "event" VALUES(20,1,20,39182184673245,'verification');
INSERT INTO "event" VALUES(21,1,21,39182193956870,'registers');
INSERT INTO "event" VALUES(22,1,22,39182369355854,'snapshot');
INSERT INTO "event" VALUES(23,1,23,39182429780202,'registers');
INSERT INTO "event" VALUES(24,1,24,39182649972381,'snapshot');
INSERT INTO "event" VALUES(25,1,25,39182697870832,'registers');
INSERT INTO "event" VALUES(26,1,26,39182897346531,'snapshot');
INSERT INTO "event" VALUES(27,1,27,39182915336738,'note');
CREATE TABLE fact(event INTEGER PRIMARY KEY REFERENCES event(id), name TEXT NOT NULL, value TEXT NOT NULL);
INSERT INTO "fact" VALUES(1,'profile','xuantie/pages');
INSERT INTO "fact" VALUES(2,'source','lab/driver/xuantie-iommu-map.c:144');
INSERT INTO "fact" VALUES(3,'debugger','GDB 13.1');
INSERT INTO "fact" VALUES(4,'memory','build/guest/ram, mapped, the RAM file of process 363 (qemu-system-ris): ram 0x80000000-0x8fffffff. By process_vm_readv: rom 0x1000-0xffff, romd 0x20000000-0x21ffffff, romd 0x22000000-0x23ffffff. Compared with the debugger''s view: 256 bytes at 4 places.');
INSERT INTO "fact" VALUES(5,'qemu','7.2.22Debian 1:7.2+dfsg-7+deb12u18+b3');
INSERT INTO "fact" VALUES(7,'satp','0xa00000000008020b');
INSERT INTO "fact" VALUES(8,'kernel','Linux version 6.4.0-iommulens-guest (lab@iommulens) (riscv64-linux-gnu-gcc) #1');
INSERT INTO "fact" VALUES(9,'fault interrupt','not handled');
CREATE TABLE kernel_state(event INTEGER PRIMARY KEY REFERENCES event(id), state TEXT NOT NULL);
CREATE TABLE log(event INTEGER PRIMARY KEY REFERENCES event(id), origin TEXT NOT NULL, line INTEGER NOT NULL,
                 time_ns INTEGER, text TEXT NOT NULL, meaning TEXT NOT NULL, UNIQUE(origin, line, text));
CREATE TABLE note(event INTEGER PRIMARY KEY REFERENCES event(id), text TEXT NOT NULL);
INSERT INTO "note" VALUES(27,'Recorded with schema 4.');
CREATE TABLE page(id INTEGER PRIMARY KEY, hash INTEGER NOT NULL, bytes BLOB NOT NULL);
INSERT INTO "page" VALUES(1,-1527491910074467296,X'<64>05e05d84<60>05b0aa82<3964>');
INSERT INTO "page" VALUES(2,-6995159147004032991,X'<4088>019cb92000000000');
INSERT INTO "page" VALUES(3,-4001355736103810394,X'00c0bb80<4092>');
INSERT INTO "page" VALUES(4,-5015242686517129500,X'9a49080000000080<4088>');
INSERT INTO "page" VALUES(5,1431157005949180287,X'<4032>0714b121000000000714b12100000000075835210000000007583521000000000700002200000000070400220000000000000000000000000724a22100000000');
INSERT INTO "page" VALUES(6,6849242576003057788,X'cd64080000000080<4088>');
INSERT INTO "page" VALUES(7,-5099749867803417819,X'<4096>');
INSERT INTO "page" VALUES(8,-6362280991007323247,X'01e03d20<4092>');
CREATE TABLE register(event INTEGER NOT NULL REFERENCES event(id), offset INTEGER NOT NULL, value INTEGER NOT NULL,
                      PRIMARY KEY(event, offset)) WITHOUT ROWID;
INSERT INTO "register" VALUES(21,0,0);
INSERT INTO "register" VALUES(21,8,8);
INSERT INTO "register" VALUES(21,24,2188308480);
INSERT INTO "register" VALUES(21,32,0);
INSERT INTO "register" VALUES(21,40,0);
INSERT INTO "register" VALUES(21,48,0);
INSERT INTO "register" VALUES(21,4096,1);
INSERT INTO "register" VALUES(21,4104,1);
INSERT INTO "register" VALUES(23,0,0);
INSERT INTO "register" VALUES(23,8,8);
INSERT INTO "register" VALUES(23,24,2188308480);
INSERT INTO "register" VALUES(23,32,0);
INSERT INTO "register" VALUES(23,40,0);
INSERT INTO "register" VALUES(23,48,0);
INSERT INTO "register" VALUES(23,4096,1);
INSERT INTO "register" VALUES(23,4104,1);
INSERT INTO "register" VALUES(25,0,0);
INSERT INTO "register" VALUES(25,8,8);
INSERT INTO "register" VALUES(25,24,2188308480);
INSERT INTO "register" VALUES(25,32,0);
INSERT INTO "register" VALUES(25,40,0);
INSERT INTO "register" VALUES(25,48,0);
INSERT INTO "register" VALUES(25,4096,1);
INSERT INTO "register" VALUES(25,4104,1);
CREATE TABLE session(id INTEGER PRIMARY KEY, side TEXT NOT NULL, process INTEGER NOT NULL, started TEXT NOT NULL);
INSERT INTO "session" VALUES(1,'kernel',392,'2026-11-24T16:50:37Z');
CREATE TABLE snapshot(event INTEGER PRIMARY KEY REFERENCES event(id), reason TEXT NOT NULL);
INSERT INTO "snapshot" VALUES(22,'disagreement');
INSERT INTO "snapshot" VALUES(24,'check');
INSERT INTO "snapshot" VALUES(26,'diagnose');
CREATE TABLE snapshot_page(snapshot INTEGER NOT NULL REFERENCES event(id), address INTEGER NOT NULL,
                           page INTEGER NOT NULL REFERENCES page(id), PRIMARY KEY(snapshot, address)) WITHOUT ROWID;
INSERT INTO "snapshot_page" VALUES(22,2159788032,1);
INSERT INTO "snapshot_page" VALUES(22,2163703808,2);
INSERT INTO "snapshot_page" VALUES(22,2188308480,3);
INSERT INTO "snapshot_page" VALUES(22,2192224256,4);
INSERT INTO "snapshot_page" VALUES(22,2196140032,5);
INSERT INTO "snapshot_page" VALUES(22,2220744704,6);
INSERT INTO "snapshot_page" VALUES(22,2224660480,7);
INSERT INTO "snapshot_page" VALUES(22,2253180928,8);
INSERT INTO "snapshot_page" VALUES(24,2159788032,1);
INSERT INTO "snapshot_page" VALUES(24,2163703808,2);
INSERT INTO "snapshot_page" VALUES(24,2188308480,3);
INSERT INTO "snapshot_page" VALUES(24,2192224256,4);
INSERT INTO "snapshot_page" VALUES(24,2196140032,5);
INSERT INTO "snapshot_page" VALUES(24,2220744704,6);
INSERT INTO "snapshot_page" VALUES(24,2224660480,7);
INSERT INTO "snapshot_page" VALUES(24,2253180928,8);
INSERT INTO "snapshot_page" VALUES(26,2159788032,1);
INSERT INTO "snapshot_page" VALUES(26,2163703808,2);
INSERT INTO "snapshot_page" VALUES(26,2188308480,3);
INSERT INTO "snapshot_page" VALUES(26,2192224256,4);
INSERT INTO "snapshot_page" VALUES(26,2196140032,5);
INSERT INTO "snapshot_page" VALUES(26,2220744704,6);
INSERT INTO "snapshot_page" VALUES(26,2224660480,7);
INSERT INTO "snapshot_page" VALUES(26,2253180928,8);
CREATE TABLE translation(event INTEGER PRIMARY KEY REFERENCES event(id), requester INTEGER, iova INTEGER NOT NULL,
                         count INTEGER NOT NULL, stride INTEGER NOT NULL, access INTEGER, answer_address INTEGER,
                         answer_mask INTEGER, answer_access INTEGER, before BLOB NOT NULL, after BLOB NOT NULL,
                         device TEXT, operation TEXT, path TEXT, length INTEGER);
CREATE TABLE verification(event INTEGER PRIMARY KEY REFERENCES event(id), call INTEGER NOT NULL REFERENCES event(id),
                          leaves INTEGER NOT NULL, agreeing INTEGER NOT NULL, verdict TEXT NOT NULL, level INTEGER,
                          found INTEGER, detail TEXT NOT NULL, iova INTEGER, shifts TEXT NOT NULL, samples TEXT NOT NULL DEFAULT '');
INSERT INTO "verification" VALUES(10,6,1,0,'missing',2,NULL,'',4294963200,'0,0,ffffffff00000000','fffff000:21a22407:2:0');
INSERT INTO "verification" VALUES(12,11,2,0,'missing',2,NULL,'',4294950912,'0,0,ffffffff00000000','ffffc000:22000007:2:0,ffffd000:22000407:2:0');
INSERT INTO "verification" VALUES(14,13,1,0,'missing',2,NULL,'',4294946816,'0,0,ffffffff00000000','ffffb000:21355807:2:0');
INSERT INTO "verification" VALUES(16,15,1,0,'missing',2,NULL,'',4294942720,'0,0,ffffffff00000000','ffffa000:21355807:2:0');
INSERT INTO "verification" VALUES(18,17,1,0,'missing',2,NULL,'',4294938624,'0,0,ffffffff00000000','ffff9000:21b11407:2:0');
INSERT INTO "verification" VALUES(20,19,1,0,'missing',2,NULL,'',4294934528,'0,0,ffffffff00000000','ffff8000:21b11407:2:0');
CREATE INDEX page_hash ON page(hash);
CREATE VIEW calls AS
  SELECT call.event, session.side, event.monotonic_ns, call.kind, call.number, call.function,
         printf('0x%x', call.domain) AS domain, call.iova, call.length, call.page_size, call.page_count, call.target,
         call.prot, call.gfp, CASE WHEN call.requester IS NOT NULL THEN printf('%04x:%02x:%02x.%x', call.requester >> 16,
  call.requester >> 8 & 255, call.requester >> 3 & 31, call.requester & 7) END AS requester, call.root, call.mode, call.origin,
         found.verdict, found.level, found.leaves AS pages_checked, found.agreeing AS pages_right
  FROM call JOIN event ON event.id = call.event JOIN session ON session.id = event.session
  LEFT JOIN (SELECT call, max(event), verdict, level, leaves, agreeing FROM verification GROUP BY call) AS found
    ON found.call = call.event;
CREATE VIEW translations AS
  SELECT translation.event, session.side, event.monotonic_ns, CASE WHEN translation.requester IS NOT NULL THEN printf('%04x:%02x:%02x.%x', translation.requester >> 16,
  translation.requester >> 8 & 255, translation.requester >> 3 & 31, translation.requester & 7) END AS requester,
         translation.iova, translation.count, translation.stride, CASE translation.access WHEN 0 THEN 'none' WHEN 1 THEN 'read' WHEN 2 THEN 'write' WHEN 3 THEN 'read and write' END AS access,
         translation.answer_address AS target, translation.answer_mask AS mask,
         CASE translation.answer_access WHEN 0 THEN 'none' WHEN 1 THEN 'read' WHEN 2 THEN 'write' WHEN 3 THEN 'read and write' END AS permission, translation.answer_access = 0 AS refused,
         translation.device, translation.operation, translation.path, translation.length
  FROM translation JOIN event ON event.id = translation.event JOIN session ON session.id = event.session;
