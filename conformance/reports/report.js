document.getElementById('only').addEventListener('change', event => {
  document.body.classList.toggle('only', event.target.checked)
})
const reveal = () => { const row = document.getElementById(location.hash.slice(1)); if (row) row.open = true }
addEventListener('hashchange', reveal)
reveal()
