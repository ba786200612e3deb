// The search: an index over the sections of all pages, made in the browser when somebody first looks for something.
import MiniSearch from './minisearch.js'

const script = document.currentScript
const box = document.querySelector('.search')
const input = box.querySelector('input')
const list = box.querySelector('.results')
let index
box.hidden = false // without scripts there is no search

// load fetches the sections as a script: that works from a folder, too, where fetch doesn't.
function load() {
  index ??= new Promise((done, fail) => {
    const pages = document.createElement('script')
    pages.src = script.dataset.pages
    pages.onload = () => {
      const mini = new MiniSearch({
        fields: ['title', 'page', 'text'],
        storeFields: ['title', 'page', 'url', 'text'],
        // Names such as lethe_throttled, --long-lanes and through_seq are words, and so are their parts.
        tokenize: text => text.toLowerCase().split(/[^\p{L}\p{N}_-]+/u).flatMap(word => [word, ...word.split(/[_-]+/)]).filter(Boolean),
        searchOptions: { boost: { title: 4, page: 2 }, prefix: true, fuzzy: term => (term.length > 4 ? 0.2 : false), combineWith: 'AND',
          boostDocument: (id, term, section) => (section.page === 'Changelog' ? 0.2 : 1) },
      })
      mini.addAll(window.sections)
      done(mini)
    }
    pages.onerror = () => {
      index = undefined // the next key tries again
      fail(new Error(`can't load ${pages.src}`))
    }
    document.head.append(pages)
  })
  return index
}

// excerpt is the text around the first of the terms, which are marked.
function excerpt(text, terms) {
  const lower = text.toLowerCase()
  const first = Math.min(...terms.map(term => lower.indexOf(term)).filter(at => at >= 0))
  const from = first > 60 && first < Infinity ? text.indexOf(' ', first - 60) : 0
  const to = text.length > from + 200 ? text.lastIndexOf(' ', from + 200) : text.length
  const part = (from > 0 ? '…' : '') + text.slice(from, to) + (to < text.length ? ' …' : '')
  const node = document.createElement('p')
  const escaped = terms.map(t => t.replace(/[.*+?^${}()|[\]\\]/g, '\\$&'))
  part.split(new RegExp(`(${escaped.join('|')})`, 'iu')).forEach((piece, i) => {
    const shown = i % 2 ? document.createElement('mark') : document.createElement('span')
    shown.textContent = piece
    node.append(shown)
  })
  return node
}

async function show() {
  const query = input.value.trim()
  if (!query) {
    list.hidden = true
    return
  }
  const mini = await load().catch(() => null)
  if (query !== input.value.trim()) return // typed on meanwhile
  if (!mini) return say('The search can’t be loaded.')
  const found = mini.search(query).slice(0, 12)
  list.replaceChildren(...found.map(hit => {
    const item = document.createElement('li')
    const link = document.createElement('a')
    link.href = script.dataset.site + hit.url
    const title = document.createElement('strong')
    title.textContent = hit.title === hit.page ? hit.page : `${hit.page}: ${hit.title}`
    link.append(title, excerpt(hit.text, hit.terms))
    item.append(link)
    return item
  }))
  if (!found.length) say('Nothing found')
  list.dataset.query = query
  list.hidden = false
}

// say shows a text instead of results.
function say(text) {
  const item = document.createElement('li')
  item.textContent = text
  list.replaceChildren(item)
  list.hidden = false
}

input.addEventListener('focus', () => {
  load().catch(() => {}) // show says so
  show()
})
input.addEventListener('input', show)
document.addEventListener('keydown', event => {
  const typing = event.target.matches?.('input, textarea')
  if (event.key === '/' && !typing) {
    event.preventDefault()
    input.focus()
  } else if (event.key === 'Escape') {
    list.hidden = true
    input.blur()
  } else if ((event.key === 'ArrowDown' || event.key === 'ArrowUp') && !list.hidden) {
    const links = [...list.querySelectorAll('a')]
    const next = links.indexOf(document.activeElement) + (event.key === 'ArrowDown' ? 1 : -1)
    event.preventDefault()
    ;(links[next] ?? input).focus()
  } else if (event.key === 'Enter' && event.target === input && !list.hidden) {
    list.querySelector('a')?.click()
  }
})
for (const leaves of ['click', 'focusin']) {
  document.addEventListener(leaves, event => {
    if (!box.contains(event.target)) list.hidden = true
  })
}
