// SPDX-License-Identifier: GPL-2.0-only
/*
 * The mapping habits of the e1000e driver, under its function names: two rings, a page mapped for
 * every receive buffer, a page for every frame sent.  No card is behind it.
 */
#include "iommu.h"

#define RING_ENTRIES	256U

struct e1000_buffer {
	dma_addr_t dma;
	struct page *page;
	unsigned long offset;
};

struct e1000_ring {
	struct pci_dev *pdev;
	void *desc;
	dma_addr_t dma;
	unsigned int size;
	unsigned int next_to_use;
	unsigned int next_to_clean;
	struct e1000_buffer buffer_info[RING_ENTRIES];
};

struct e1000_adapter {
	struct pci_dev *pdev;
	struct e1000_ring *tx_ring;
	struct e1000_ring *rx_ring;
};

#define RX_BUFFER_SIZE	1522U
#define TX_FRAME_SIZE	90U

static struct e1000_adapter *adapter;

static lab_frame int e1000_alloc_ring_dma(struct e1000_adapter *adapter, struct e1000_ring *ring)
{
	ring->desc = dma_alloc_coherent(&adapter->pdev->dev, ring->size, &ring->dma, GFP_KERNEL);
	return ring->desc ? 0 : -ENOMEM;
}

static lab_frame int e1000e_setup_tx_resources(struct e1000_ring *tx_ring)
{
	tx_ring->size = RING_ENTRIES * 16;
	return e1000_alloc_ring_dma(adapter, tx_ring);
}

/* Two pages, as measured: receive descriptors of this driver are twice as long. */
static lab_frame int e1000e_setup_rx_resources(struct e1000_ring *rx_ring)
{
	rx_ring->size = RING_ENTRIES * 32;
	return e1000_alloc_ring_dma(adapter, rx_ring);
}

/* Two buffers share a physical page, each with an IOVA of its own. */
static lab_frame void e1000_alloc_rx_buffers(struct e1000_ring *rx_ring, unsigned int cleaned_count,
					     gfp_t gfp)
{
	while (cleaned_count--) {
		unsigned int i = rx_ring->next_to_use;
		struct e1000_buffer *buffer = &rx_ring->buffer_info[i];

		if (!buffer->page) {
			if (i & 1) {
				buffer->page = rx_ring->buffer_info[i - 1].page;
				buffer->offset = 0x84a;
			} else {
				buffer->page = vmemmap + (lab_scattered_page() >> PAGE_SHIFT);
				buffer->offset = 0x4a;
			}
		}
		buffer->dma = dma_map_page(&rx_ring->pdev->dev, buffer->page, buffer->offset,
					   RX_BUFFER_SIZE, DMA_FROM_DEVICE);
		rx_ring->next_to_use = (i + 1) % RING_ENTRIES;
	}
}

static lab_frame void e1000_clean_rx_irq(struct e1000_ring *rx_ring, unsigned int work_to_do)
{
	while (work_to_do--) {
		unsigned int i = rx_ring->next_to_clean;

		dma_unmap_page(&rx_ring->pdev->dev, rx_ring->buffer_info[i].dma, RX_BUFFER_SIZE,
			       DMA_FROM_DEVICE);
		rx_ring->next_to_clean = (i + 1) % RING_ENTRIES;
	}
}

static lab_frame void e1000_tx_map(struct e1000_ring *tx_ring)
{
	unsigned int i = tx_ring->next_to_use;
	struct e1000_buffer *buffer = &tx_ring->buffer_info[i];

	buffer->page = vmemmap + (lab_scattered_page() >> PAGE_SHIFT);
	buffer->offset = 0x0a;
	buffer->dma = dma_map_page(&tx_ring->pdev->dev, buffer->page, buffer->offset,
				   TX_FRAME_SIZE, DMA_TO_DEVICE);
	tx_ring->next_to_use = (i + 1) % RING_ENTRIES;
}

static lab_frame void e1000_xmit_frame(struct e1000_adapter *adapter)
{
	e1000_tx_map(adapter->tx_ring);
}

static lab_frame void e1000_put_txbuf(struct e1000_ring *tx_ring, struct e1000_buffer *buffer_info)
{
	dma_unmap_page(&tx_ring->pdev->dev, buffer_info->dma, TX_FRAME_SIZE, DMA_TO_DEVICE);
}

static lab_frame void e1000_clean_tx_irq(struct e1000_ring *tx_ring, unsigned int count)
{
	while (count--) {
		unsigned int i = tx_ring->next_to_clean;

		e1000_put_txbuf(tx_ring, &tx_ring->buffer_info[i]);
		tx_ring->next_to_clean = (i + 1) % RING_ENTRIES;
	}
}

static struct e1000_ring *new_ring(struct pci_dev *pdev)
{
	struct e1000_ring *ring = kzalloc(sizeof(*ring), GFP_KERNEL);

	ring->pdev = pdev;
	return ring;
}

static lab_frame int e1000e_open(struct e1000_adapter *adapter)
{
	int error = e1000e_setup_tx_resources(adapter->tx_ring);

	if (error)
		return error;
	lab_workload_first_map_done();
	error = e1000e_setup_rx_resources(adapter->rx_ring);
	if (error)
		return error;
	e1000_alloc_rx_buffers(adapter->rx_ring, RING_ENTRIES - 2, GFP_ATOMIC);
	return 0;
}

lab_frame void lab_nic_open(void)
{
	adapter = kzalloc(sizeof(*adapter), GFP_KERNEL);
	adapter->pdev = &lab_nic;
	adapter->tx_ring = new_ring(&lab_nic);
	adapter->rx_ring = new_ring(&lab_nic);
	if (e1000e_open(adapter)) {
		lab_print("iommulens guest: e1000e_open failed; stopping\n");
		lab_stop();
	}
}

lab_frame void lab_nic_transmit(unsigned int count)
{
	while (count--)
		e1000_xmit_frame(adapter);
}

lab_frame void lab_nic_clean_transmitted(unsigned int count)
{
	e1000_clean_tx_irq(adapter->tx_ring, count);
}

/* Takes `count` frames off the receive ring, then fills the ring again. */
lab_frame void lab_nic_receive(unsigned int count)
{
	e1000_clean_rx_irq(adapter->rx_ring, count);
	e1000_alloc_rx_buffers(adapter->rx_ring, count, GFP_ATOMIC);
}
